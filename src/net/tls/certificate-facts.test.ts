import { expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as make from '../../../test/support/certificate-maker.ts';
import { SeededRandom } from '../../base/random.ts';
import { Certificate } from './certificate.ts';
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

test('thousands of extensions take no longer than they must', () => {
  const many = Array.from({ length: 8000 }, (_, i) => make.extension(`1.2.4.${i}`, Buffer.of(5, 0)));
  const { der } = make.makeCertificate({ cn: 'many', extensions: [...many, make.altNames(make.dns('a.test'))] });
  const began = performance.now();
  const facts = certificateFacts(der);
  // One pass takes a few milliseconds; a search for each extension took half a minute.
  expect(performance.now() - began).toBeLessThan(2000);
  expect(facts.oids.length).toBe(8001);
  expect(facts.dnsNames).toEqual(['a.test']);
});

test('of two extensions of one kind none is believed', () => {
  const names = ['a.test', 'b.test'].map((name) => make.altNames(make.dns(name)));
  expect(() => certificateFacts(make.makeCertificate({ cn: 'two', extensions: names }).der)).toThrow('twice');
  const unknown = [make.extension('1.2.3', Buffer.of(5, 0)), make.extension('1.2.3', Buffer.of(5, 0), true)];
  const { extensions } = certificateFacts(make.makeCertificate({ cn: 'two', extensions: unknown }).der);
  expect(extensions).toMatchObject([{ oid: '1.2.3', critical: true }]);
});

test('addresses are printed as inet_ntop does', () => {
  const zeros = (count: number): number[] => new Array<number>(count).fill(0);
  for (const [bytes, text] of [
    [[10, 0, 0, 1], '10.0.0.1'],
    [[...zeros(10), 0xff, 0xff, 10, 0, 0, 1], '::ffff:10.0.0.1'],
    [[...zeros(12), 10, 0, 0, 1], '::10.0.0.1'],
    [[...zeros(15), 1], '::1'],
    [zeros(16), '::'],
    [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 1, ...zeros(7), 1], '2001:db8:0:1::1'],
    [[10, 0, 0, 1, 255], ''],
    [[], ''],
  ] as const) {
    const { der } = make.makeCertificate({ cn: 'ip', extensions: [make.altNames(make.ip(...bytes))] });
    expect(certificateFacts(der).ipNames).toEqual([text]);
  }
});

test('whatever is changed in a certificate, all of it is read or none', () => {
  const { der } = make.makeCertificate({
    cn: 'fuzz',
    extensions: [make.altNames(make.dns('a'), make.ip(1, 2, 3, 4), make.uri('b:c')), make.authority(true, 3)],
  });
  const random = new SeededRandom(7);
  for (let round = 0; round < 5000; round++) {
    const bytes = Buffer.from(der);
    for (let edits = random.below(3); edits >= 0; edits--) bytes[random.below(bytes.length)] = random.below(256);
    const one = Certificate.parse(bytes);
    if (one === null) continue;
    void [one.subject, one.issuer, one.serialNumber, one.dnsNames, one.uriNames, one.emailNames, one.ipNames, one.pem];
    void [one.otherNames, one.oids, one.sha256, one.sha1, one.spkiSha256, one.validFromMs, one.validToMs];
  }
});
