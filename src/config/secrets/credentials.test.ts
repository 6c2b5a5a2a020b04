import { describe, expect, test } from 'bun:test';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { certificateBlocks, isEncryptedKey, privateKeyBlock, toPem } from './pem.ts';
import { readPkcs12 } from './pkcs12.ts';
import { loadPrivateKey } from './private-key.ts';

const data = (name: string): Buffer => readFileSync(new URL(`../../net/tls/testdata/${name}`, import.meta.url));
const store = (name: string): Buffer => readFileSync(new URL(`testdata/${name}`, import.meta.url));
const text = (name: string): string => data(name).toString('latin1');

describe('private keys', () => {
  const key = createPrivateKey(data('server-rsa.key'));
  const same = (pem: string): boolean =>
    createPrivateKey(pem)
      .export({ type: 'pkcs8', format: 'der' })
      .equals(key.export({ type: 'pkcs8', format: 'der' }));
  const pkcs8 = { type: 'pkcs8', format: 'pem' } as const;
  const forms: [string, string, string][] = [
    ['PKCS#8', key.export(pkcs8) as string, ''],
    ['PKCS#1', key.export({ type: 'pkcs1', format: 'pem' }) as string, ''],
    ['encrypted PKCS#8', key.export({ ...pkcs8, cipher: 'aes-256-cbc', passphrase: 'sesame' }) as string, 'sesame'],
    ['behind its certificate', `${text('server-rsa.pem')}\n${text('server-rsa.key')}`, ''],
  ];
  for (const [name, pem, password] of forms) {
    test(name, () => {
      const loaded = loadPrivateKey(pem, password);
      expect(loaded.ok && same(loaded.pem)).toBe(true);
    });
  }

  test('SEC1', () => {
    const loaded = loadPrivateKey(text('server-ec.key'), '');
    expect(loaded.ok && loaded.key.asymmetricKeyType).toBe('ec');
  });

  test('what is wrong is told in the words of BoringSSL', () => {
    const encrypted = key.export({ ...pkcs8, cipher: 'aes-256-cbc', passphrase: 'sesame' }) as string;
    const reason = (pem: string, password: string) => {
      const loaded = loadPrivateKey(pem, password);
      return loaded.ok ? '' : loaded.reason;
    };
    expect(reason('garbage', '')).toContain('NO_START_LINE');
    expect(reason(text('server-rsa.pem'), '')).toContain('NO_START_LINE');
    expect(reason(encrypted, '')).toContain('BAD_PASSWORD_READ');
    expect(reason(encrypted, 'wrong')).toContain('OPENSSL_internal');
    expect(isEncryptedKey(privateKeyBlock(encrypted)!)).toBe(true);
  });
});

test('PEM blocks among comments', () => {
  const pem = `# mine\n${text('server-ec.pem')}\nand theirs\n${text('inter.pem')}`;
  const blocks = certificateBlocks(pem);
  expect(blocks.map((block) => new X509Certificate(block).subject)).toEqual([
    new X509Certificate(data('server-ec.pem')).subject,
    new X509Certificate(data('inter.pem')).subject,
  ]);
  const { raw } = new X509Certificate(blocks[0]!);
  expect(new X509Certificate(toPem('CERTIFICATE', raw)).raw.equals(raw)).toBe(true);
});

describe('PKCS#12', () => {
  for (const name of ['aes.p12', 'aes-sha1.p12', 'triple-des.p12', 'rc2.p12']) {
    test(name, () => {
      const { certificates, keyPem } = readPkcs12(store(name), 'sesame');
      expect(certificates.length).toBe(2);
      const leaf = new X509Certificate(certificates[0]!);
      expect(leaf.subject).toContain('server-inter');
      expect(leaf.checkPrivateKey(createPrivateKey(keyPem))).toBe(true);
    });
  }

  test('a wrong password', () => {
    expect(() => readPkcs12(store('aes.p12'), 'wrong')).toThrow('the password is wrong');
  });

  test('what is cut off, or damaged anywhere, throws and nothing else', () => {
    const whole = store('aes.p12');
    for (let length = 0; length < whole.length; length += 7) {
      expect(() => readPkcs12(whole.subarray(0, length), 'sesame')).toThrow();
    }
    // Where the checksum reaches; tags around it are not looked at.
    for (let at = 64; at < 400; at++) {
      const damaged = Buffer.from(whole);
      damaged[at] = damaged[at]! ^ 0x15;
      expect(() => readPkcs12(damaged, 'sesame')).toThrow();
    }
  });
});
