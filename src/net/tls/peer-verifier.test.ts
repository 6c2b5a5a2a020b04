import { describe, expect, test } from 'bun:test';
import * as make from '../../../test/support/certificate-maker.ts';
import { Certificate, certificatesOf } from './certificate.ts';
import { PathBuilder } from './certificate-path.ts';
import { dnsNameMatches } from './dns-name-match.ts';
import { type PeerEvidence, PeerVerifier } from './peer-verifier.ts';
import { RevocationList, revocationListsOf, revocationProblem } from './revocation-list.ts';
import { SessionCache, sessionIdOf } from './session-cache.ts';
import { leafOf, pem, validation } from './testdata/settings.ts';
import { SanType } from './tls-settings.ts';

const NOW = Date.UTC(2026, 10, 22);

function evidence(name: string, chainError: string, change: Partial<PeerEvidence> = {}): PeerEvidence {
  const chain = certificatesOf(pem(name)).map((each) => each.der);
  return {
    chainError,
    leaf: chain[0]!,
    chain: () => chain,
    resumed: false,
    sanOverride: [],
    sniToMatch: '',
    ...change,
  };
}

function verdict(name: string, chainError: string, change = {}, at = NOW, more: Partial<PeerEvidence> = {}) {
  return new PeerVerifier(validation(change), 'client', () => at).verify(evidence(name, chainError, more));
}

describe('PeerVerifier', () => {
  test('the runtime is believed when it refuses, whatever the second look says', () => {
    for (const code of [
      'CERT_REVOKED',
      'CERT_SIGNATURE_FAILURE',
      'INVALID_PURPOSE',
      'SOMETHING_NEW',
      'CERT_UNTRUSTED',
    ]) {
      expect(verdict('client', code).accepted).toBe(false);
      expect(verdict('client', code, { allowExpired: true }).accepted).toBe(false);
    }
    // With lists of its own, even where it speaks of dates: something else may be behind that.
    expect(verdict('client', 'CERT_HAS_EXPIRED', { crlPem: pem('root.crl') }).accepted).toBe(false);
  });

  test('an expired certificate is refused on a resumed session too', () => {
    const later = Date.UTC(2126, 0, 1);
    expect(verdict('client', '', {}, later, { resumed: true }).detail).toContain('certificate has expired');
    expect(verdict('client', '', { allowExpired: true }, later, { resumed: true }).accepted).toBe(true);
  });

  test('verdicts about dates are looked behind', () => {
    expect(verdict('client-expired', 'CERT_HAS_EXPIRED').detail).toContain('depth 0: certificate has expired');
    expect(verdict('client-expired', 'CERT_HAS_EXPIRED', { allowExpired: true }).validated).toBe(true);
    for (const allowExpired of [false, true]) {
      const { accepted, detail } = verdict('client-expired-stranger', 'CERT_HAS_EXPIRED', { allowExpired });
      expect(accepted).toBe(false);
      expect(detail).toContain('unable to get local issuer certificate');
    }
    // No such date, and nothing else to say: refused as it stands.
    expect(verdict('client', 'CERT_HAS_EXPIRED').accepted).toBe(false);
  });

  test('a root that the peer presents, and that nobody trusts, is named by its depth', () => {
    const chain = [...certificatesOf(pem('client-inter')), ...certificatesOf(pem('root'))].map((each) => each.der);
    const refused = verdict('client-inter', 'SELF_SIGNED_CERT_IN_CHAIN', {}, NOW, { chain: () => chain });
    expect(refused.detail).toContain('at depth 2: self signed certificate in certificate chain');
  });

  test('a malformed leaf', () => {
    const leaf = Buffer.from('nonsense');
    expect(verdict('client', '', {}, NOW, { leaf }).accepted).toBe(false);
  });
});

describe('PathBuilder', () => {
  const anchors = certificatesOf(pem('root'));
  const path = (name: string, peer: 'client' | 'server' = 'client', trusted = anchors) => {
    const [leaf, ...others] = certificatesOf(pem(name));
    const found = new PathBuilder(trusted).build(leaf!, others.reverse(), peer);
    return Array.isArray(found) ? found.map((each) => each.subject.replace(/^CN=|,.*/g, '')) : found.reason;
  };

  test('finds its way, whatever the order', () => {
    expect(path('client')).toEqual(['client', 'root']);
    expect(path('client-deep')).toEqual(['client-deep', 'inter2', 'inter', 'root']);
    expect(path('client-deep', 'client', certificatesOf(pem('inter')))).toEqual(['client-deep', 'inter2', 'inter']);
  });

  test('refuses what may not sign, and what may not be used so', () => {
    expect(path('client-by-leaf')).toBe('unable to get local issuer certificate');
    expect(path('client-stranger')).toBe('unable to get local issuer certificate');
    expect(path('client', 'server')).toBe('unsupported certificate purpose');
    expect(path('client-serveronly')).toBe('unsupported certificate purpose');
    expect(path('client-nosign')).not.toBe('unsupported certificate purpose');
  });

  test('many authorities of one name do not take long', () => {
    const inter = certificatesOf(pem('client-inter'))[1]!;
    // The same authority with another signature each: all names fit, no signature does.
    const forged = Array.from({ length: 500 }, (_, i) => {
      const der = Buffer.from(inter.der);
      der[der.length - 1 - (i % 16)]! ^= 1 + (i >> 4);
      return Certificate.parse(der)!;
    });
    const started = performance.now();
    const found = new PathBuilder(anchors).build(leafOf('client-inter'), forged, 'client');
    expect(Array.isArray(found)).toBe(false);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

test('names with wildcards', () => {
  for (const [name, pattern, fits] of [
    ['a.test', 'a.test', true],
    ['A.test', 'a.TEST', true],
    ['a.b.test', '*.b.test', true],
    ['a.a.b.test', '*.b.test', false],
    ['b.test', '*.b.test', false],
    ['abc.test', 'a*c.test', true],
    ['ac.test', 'a*c.test', true],
    ['a.test', 'a*a.test', false],
    ['xn--a.test', 'xn--*.test', false],
    ['a.b.test', '*.*.test', false],
    ['a', '*', false],
    ['a.b.test', 'a.*.test', false],
  ] as const) {
    expect([name, pattern, dnsNameMatches(name, pattern)]).toEqual([name, pattern, fits]);
  }
});

test('a revocation list that is changed anywhere is malformed, or not its issuer’s', () => {
  const issuer = leafOf('root');
  const [list] = revocationListsOf(pem('root.crl'));
  expect(list!.problem(issuer, NOW)).toBe('');
  expect(list!.lists(leafOf('client-revoked'))).toBe(true);
  expect(list!.lists(leafOf('client'))).toBe(false);
  expect(list!.problem(issuer, Date.UTC(2000, 0))).toBe('CRL is not yet valid');
  expect(list!.problem(issuer, Date.UTC(2200, 0))).toBe('CRL has expired');
  expect(list!.problem(leafOf('stranger'), NOW)).toBe('CRL signature failure');
  const der = Buffer.from(pem('root.crl').replace(/-----[^-]*-----|\s/g, ''), 'base64');
  for (let at = 0; at < der.length; at++) {
    const changed = Buffer.from(der);
    changed[at]! ^= 0x41;
    let problem = 'malformed';
    try {
      problem = new RevocationList(changed).problem(issuer, NOW);
    } catch {
      continue;
    }
    // The outer frame and the second name of the algorithm are not signed, and not looked at.
    if (problem === '') expect(at < 4 || at > der.length - 100).toBe(true);
  }
});

test('sessions', () => {
  const tls13 = Buffer.from('3082043602010102020304040213010400', 'hex');
  const tls12 = Buffer.from('307b020101020203030402c02b0402abcd0430', 'hex');
  expect(sessionIdOf(tls12)).toBe('abcd');
  expect(sessionIdOf(tls13)).toBe('');
  const cache = new SessionCache(2);
  cache.add('a', tls12);
  expect(cache.take('a')).toBe(tls12);
  expect(cache.take('a')).toBe(tls12);
  expect(cache.take('b')).toBeNull();
  cache.add('b', tls13);
  cache.add('b', tls13);
  expect(cache.size).toBe(2);
  expect(cache.take('a')).toBeNull();
  expect(cache.take('b')).toBe(tls13);
  expect(cache.take('b')).toBe(tls13);
  expect(cache.take('b')).toBeNull();
  const none = new SessionCache(0);
  none.add('a', tls12);
  expect(none.take('a')).toBeNull();
});

describe('a list that was issued anew', () => {
  const authority = make.makeCertificate({ cn: 'root', extensions: [make.authority(), make.keyUsage(0x06)] });
  const leaf = make.makeCertificate({ cn: 'leaf', issuer: authority, extensions: [] });
  const path = certificatesOf(leaf.pem + authority.pem);
  const old = { from: -5 };
  const fresh = { from: -1 };
  const judge = (...lists: readonly string[]) =>
    revocationProblem(path, revocationListsOf(lists.join('')), true, Date.now());

  test('counts instead of the older one, wherever it stands', () => {
    const lists = [make.makeRevocationList(authority, [], old), make.makeRevocationList(authority, [leaf], fresh)];
    expect(judge(...lists)).toContain('certificate revoked');
    expect(judge(...lists.reverse())).toContain('certificate revoked');
    const released = [make.makeRevocationList(authority, [leaf], old), make.makeRevocationList(authority, [], fresh)];
    expect(judge(...released)).toBe('');
    expect(judge(...released.reverse())).toBe('');
  });

  test('does not count before its time', () => {
    const early = make.makeRevocationList(authority, [], { from: 1 });
    expect(judge(early, make.makeRevocationList(authority, [leaf], old))).toContain('certificate revoked');
    expect(judge(early)).toContain('CRL is not yet valid');
    expect(judge(make.makeRevocationList(authority, [], { from: -5, to: -1 }))).toContain('CRL has expired');
  });

  test('by somebody else does not count', () => {
    const forged = make.makeRevocationList(authority, [], { signer: make.ecKeys() });
    expect(judge(forged)).toContain('CRL signature failure');
  });
});

test('names beyond ASCII are compared by their bytes', () => {
  const authority = make.makeCertificate({ cn: 'root', extensions: [make.authority()] });
  const accepts = (san: Buffer, type: SanType, wanted: (value: string) => boolean): boolean => {
    const leaf = make.makeCertificate({ cn: 'leaf', issuer: authority, extensions: [make.altNames(san)] });
    const sanMatchers = [{ type, oid: '', matches: wanted }];
    const checked = validation({ trustedCaPem: authority.pem, sanMatchers });
    const seen = { ...evidence('client', ''), leaf: leaf.der, chain: () => [leaf.der] };
    return new PeerVerifier(checked, 'client', () => Date.now()).verify(seen).accepted;
  };
  const utf8 = make.uri(Buffer.from('a:é').toString('latin1'));
  const latin1 = make.uri('a:é');
  expect(accepts(utf8, SanType.Uri, (value) => value === 'a:é')).toBe(true);
  expect(accepts(latin1, SanType.Uri, (value) => value === 'a:é')).toBe(false);
  expect(accepts(make.dns('É.test'), SanType.Dns, (value) => dnsNameMatches('é.test', value))).toBe(false);
  expect(dnsNameMatches('\u212aelvin.test', 'kelvin.test')).toBe(false);
});
