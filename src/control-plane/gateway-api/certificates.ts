import { createPrivateKey, X509Certificate } from 'node:crypto';
import { type ManifestSet, namespaceOf } from './manifest-set.ts';
import { GATEWAY_GROUP, type Manifest, type ObjectReference, type Secret } from './manifest-types.ts';
import { isGranted } from './references.ts';

/** Why something that is named cannot be used: reason and message of a condition. */
export interface ReferenceFault {
  readonly reason: string;
  readonly message: string;
}

/** A certificate with its key, PEM. */
export interface KeyPair {
  /** `namespace/name` of the Secret. */
  readonly name: string;
  readonly certificate: string;
  readonly key: string;
}

function textOf(secret: Secret, field: string): string | null {
  const plain = secret.stringData?.[field];
  if (plain !== undefined) return plain;
  const encoded = secret.data?.[field];
  return encoded === undefined ? null : Buffer.from(encoded, 'base64').toString();
}

/** What is wrong with a pair; null: nothing. A proxy would refuse it as a whole. */
function pairFault(certificate: string, key: string): string | null {
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(certificate);
  } catch {
    return 'has no certificate in tls.crt';
  }
  try {
    return leaf.checkPrivateKey(createPrivateKey(key)) ? null : 'has a key that is not of its certificate';
  } catch {
    return 'has no private key in tls.key';
  }
}

/** @param malformed reason of everything but a missing grant */
export function resolveKeyPair(
  set: ManifestSet,
  from: Manifest,
  reference: ObjectReference,
  malformed: string,
): KeyPair | ReferenceFault {
  const namespace = reference.namespace ?? namespaceOf(from);
  const kind = reference.kind ?? 'Secret';
  const group = reference.group ?? '';
  if (kind !== 'Secret' || group !== '') {
    return { reason: malformed, message: `certificates are Secrets, not ${group === '' ? '' : `${group}/`}${kind}` };
  }
  const name = `${namespace}/${reference.name}`;
  if (!isGranted(set, from, GATEWAY_GROUP, { group, kind, name: reference.name, namespace })) {
    return {
      reason: 'RefNotPermitted',
      message: `no ReferenceGrant in ${namespace} lets ${from.kind}s of ${namespaceOf(from)} name Secret ${name}`,
    };
  }
  const secret = set.find('Secret', namespace, reference.name);
  if (secret === null) return { reason: malformed, message: `there is no Secret ${name}` };
  const certificate = textOf(secret, 'tls.crt');
  const key = textOf(secret, 'tls.key');
  if (certificate === null || key === null) {
    return { reason: malformed, message: `Secret ${name} has no tls.crt and tls.key` };
  }
  const fault = pairFault(certificate, key);
  return fault === null ? { name, certificate, key } : { reason: malformed, message: `Secret ${name} ${fault}` };
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/**
 * The authorities of a ConfigMap, PEM.
 * @param reasons what to call a kind that is not supported, and everything else but a missing grant
 */
export function resolveAuthorities(
  set: ManifestSet,
  from: Manifest,
  reference: ObjectReference,
  reasons: { readonly kind: string; readonly malformed: string },
): string | ReferenceFault {
  const namespace = reference.namespace ?? namespaceOf(from);
  const kind = reference.kind ?? 'ConfigMap';
  const group = reference.group ?? '';
  if (kind !== 'ConfigMap' || group !== '') {
    return {
      reason: reasons.kind,
      message: `authorities are ConfigMaps, not ${group === '' ? '' : `${group}/`}${kind}`,
    };
  }
  const name = `${namespace}/${reference.name}`;
  if (!isGranted(set, from, GATEWAY_GROUP, { group, kind, name: reference.name, namespace })) {
    return {
      reason: 'RefNotPermitted',
      message: `no ReferenceGrant in ${namespace} lets ${from.kind}s of ${namespaceOf(from)} name ConfigMap ${name}`,
    };
  }
  const map = set.find('ConfigMap', namespace, reference.name);
  if (map === null) return { reason: reasons.malformed, message: `there is no ConfigMap ${name}` };
  const text = map.data?.['ca.crt'] ?? '';
  const certificates = text.match(CERTIFICATE) ?? [];
  try {
    for (const each of certificates) new X509Certificate(each);
  } catch {
    return { reason: reasons.malformed, message: `ConfigMap ${name} has something in ca.crt that is no certificate` };
  }
  if (certificates.length === 0) {
    return { reason: reasons.malformed, message: `ConfigMap ${name} has no certificate in ca.crt` };
  }
  return text;
}
