import { expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { certificateFacts } from './certificate-facts.ts';

function pem(name: string): X509Certificate {
  return new X509Certificate(readFileSync(new URL(`testdata/${name}.pem`, import.meta.url)));
}

test('facts agree with those of the runtime', () => {
  const certificate = pem('server-rsa');
  const facts = certificateFacts(certificate.raw);
  expect(facts.subject).toBe('CN=server-rsa,O=Nuncio');
  expect(facts.dnsNames).toEqual(['server.test', '*.wild.test']);
  expect(facts.uriNames).toEqual(['spiffe://nuncio/server']);
  expect(facts.ipNames).toEqual(['127.0.0.1']);
  expect(facts.serialNumber).toBe(certificate.serialNumber.toLowerCase());
  expect(facts.sha256).toBe(certificate.fingerprint256.replaceAll(':', '').toLowerCase());
  expect(facts.sha1).toBe(certificate.fingerprint.replaceAll(':', '').toLowerCase());
  expect(facts.validFromMs).toBe(Date.parse(certificate.validFrom));
  expect(facts.validToMs).toBe(Date.parse(certificate.validTo));
  expect(new X509Certificate(facts.pem).raw.equals(certificate.raw)).toBe(true);
});

test('what is cut off anywhere throws and nothing else', () => {
  const { raw } = pem('server-ec');
  for (let length = 0; length < raw.length; length++) {
    expect(() => certificateFacts(raw.subarray(0, length))).toThrow();
  }
});
