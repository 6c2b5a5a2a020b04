import { afterEach, describe, expect, test } from 'bun:test';
import { X509Certificate } from 'node:crypto';
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { makeCertificate } from '../../../test/support/certificate-maker.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import type { Node } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { Secret } from '../../api/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.d.ts';
import { ManualClock } from '../../base/clock.ts';
import { Logger } from '../../base/log.ts';
import { SeededRandom } from '../../base/random.ts';
import type { GrpcServerCall } from '../../grpc/grpc-server-call.ts';
import { RequestHeaders } from '../../http/header-map.ts';
import { Dispatcher } from '../../net/dispatcher.ts';
import { certificatesOf } from '../../net/tls/certificate.ts';
import { Metrics } from '../metrics.ts';
import type { SnapshotResource } from '../xds-server/snapshot.ts';
import { AuthorityDirectory } from './authority-directory.ts';
import { IdentityRules } from './identity-rules.ts';
import { MeshSecrets } from './mesh-secrets.ts';

const api = openApiRegistry();
const DOMAIN = 'example.org';
const SECRET_URL = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret';
const HOUR = 3_600_000;
const NOW = Date.UTC(2026, 10, 23);

const ends: (() => void)[] = [];
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'mesh-'));
  ends.push(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

function authority(directory: string, domain = DOMAIN): AuthorityDirectory {
  const made = new AuthorityDirectory(directory, domain, NOW, () => {});
  ends.push(() => made.close());
  return made;
}

interface Client {
  readonly tls?: boolean;
  readonly uri?: string;
  readonly validated?: boolean;
  readonly token?: string;
}

function call({ tls = true, uri = '', validated = true, token = '' }: Client): GrpcServerCall {
  const headers = new RequestHeaders();
  if (token !== '') headers.add('authorization', `Bearer ${token}`);
  const peer = uri === '' ? null : { uriNames: [uri], dnsNames: [] };
  const security = tls ? { peer, peerCertificateValidated: validated && peer !== null } : null;
  return { headers, security, peer: '127.0.0.1:1' } as unknown as GrpcServerCall;
}

const node = (fields: object = {}): Node => ({ id: 'n', cluster: 'web', metadata: {}, ...fields }) as unknown as Node;

function rules(text: string, files: Readonly<Record<string, string>> = {}): IdentityRules {
  const directory = folder();
  for (const [name, content] of Object.entries(files)) writeFileSync(join(directory, name), content);
  writeFileSync(join(directory, 'rules.yaml'), text);
  return IdentityRules.read(join(directory, 'rules.yaml'), DOMAIN);
}

const told = (read: IdentityRules, client: Client, of: Node = node()): string => {
  const entitlement = read.entitlementOf(call(client), of);
  return entitlement.ok ? entitlement.names.uri : `no: ${entitlement.reason}`;
};

describe('the authority', () => {
  test('is made once, for its owner alone', () => {
    const directory = join(folder(), 'new');
    const first = authority(directory);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(join(directory, 'root.key')).mode & 0o777).toBe(0o600);
    expect(authority(directory).bundlePem).toBe(first.bundlePem);
    const root = new X509Certificate(first.bundlePem);
    expect(root.ca).toBe(true);
    expect(root.verify(root.publicKey)).toBe(true);
    expect(root.subjectAltName).toBe(`URI:spiffe://${DOMAIN}`);
  });

  test('is not taken from a key that others can read, of another kind, or of another root or trust domain', () => {
    const directory = folder();
    authority(directory);
    const key = join(directory, 'root.key');
    chmodSync(key, 0o640);
    expect(() => authority(directory)).toThrow('open to others (mode 640)');
    chmodSync(key, 0o600);
    expect(() => authority(directory, 'other.org')).toThrow('is of spiffe://example.org, not of spiffe://other.org');
    const good = readFileSync(key);
    const stranger = makeCertificate({ cn: 'x' });
    writeFileSync(key, stranger.keyPem);
    expect(() => authority(directory)).toThrow('root.key is not the key of root.pem');
    writeFileSync(key, good);
    rmSync(key);
    expect(() => authority(directory)).toThrow('without its root.key');
  });

  test('issues what both ends of TLS take', () => {
    const made = authority(folder());
    const names = { uri: `spiffe://${DOMAIN}/ns/a/sa/b`, dns: ['b.a.svc'], ips: ['127.0.0.1', '2001:db8::7', '::1'] };
    const { chainPem, keyPem } = made.issue(names, NOW, NOW + HOUR);
    const leaf = new X509Certificate(chainPem);
    const root = new X509Certificate(made.bundlePem);
    expect(leaf.verify(root.publicKey)).toBe(true);
    expect(leaf.checkIssued(root)).toBe(true);
    expect(leaf.ca).toBe(false);
    expect(leaf.subjectAltName).toBe(
      'URI:spiffe://example.org/ns/a/sa/b, DNS:b.a.svc, IP Address:127.0.0.1, IP Address:2001:DB8:0:0:0:0:0:7, IP Address:0:0:0:0:0:0:0:1',
    );
    expect(leaf.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    expect([leaf.validFromDate.getTime(), leaf.validToDate.getTime()]).toEqual([NOW - 300_000, NOW + HOUR]);
    expect(leaf.publicKey.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    const [read] = certificatesOf(chainPem);
    expect(read).toMatchObject({ isAuthority: false, keyUsage: 0x8000, hasUnknownConstraints: false });
    expect(keyPem).toContain('BEGIN PRIVATE KEY');
    const serials = [1, 2, 3].map(() => new X509Certificate(made.issue(names, NOW, NOW + HOUR).chainPem).serialNumber);
    expect(new Set(serials).size).toBe(3);
  });

  test('issues nothing that outlives the root, and dates behind 2049', () => {
    const made = authority(folder());
    const far = NOW + 100 * 365 * 24 * HOUR;
    const { chainPem } = made.issue({ uri: '', dns: ['a'] }, NOW, far);
    expect(new X509Certificate(chainPem).validToDate.getTime()).toBe(made.validToMs);
    const late = Date.UTC(2051, 0);
    const { chainPem: beyond } = made.issue({ uri: '', dns: ['a'] }, late - 20 * 365 * 24 * HOUR, late);
    expect(new X509Certificate(beyond).validToDate.getTime()).toBe(made.validToMs);
  });

  test('takes another root while it runs, and trusts the former as long as it is told to', async () => {
    const directory = folder();
    const [current, other] = [folder(), folder()].map((each) => {
      authority(each);
      return { key: readFileSync(join(each, 'root.key')), pem: readFileSync(join(each, 'root.pem'), 'utf8') };
    });
    for (const [name, content] of [
      ['root.key', current!.key],
      ['root.pem', current!.pem],
    ] as const) {
      writeFileSync(join(directory, name), content, { mode: 0o600 });
    }
    const changes: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const made = new AuthorityDirectory(directory, DOMAIN, NOW, (fault) => {
      changes.push(fault);
      resolve();
    });
    ends.push(() => made.close());
    writeFileSync(join(directory, 'other-roots.pem'), current!.pem);
    writeFileSync(join(directory, 'root.key'), other!.key);
    writeFileSync(join(directory, 'root.pem'), other!.pem);
    await promise;
    expect(changes).toEqual(['']);
    expect(certificatesOf(made.bundlePem)).toHaveLength(2);
    const leaf = new X509Certificate(made.issue({ uri: '', dns: ['a'] }, NOW, NOW + HOUR).chainPem);
    expect(leaf.verify(new X509Certificate(other!.pem).publicKey)).toBe(true);
  });
});

describe('identities', () => {
  const byClient = `rules:
  - client: spiffe://boot.example.org/*
    node: { cluster: web* }
    identity: /ns/{metadata.namespace}/sa/{cluster}
  - client: one.example.org
    identity: /ns/one/sa/{client}
`;

  test('are for verified certificates, over TLS', () => {
    const read = rules(byClient);
    const uri = 'spiffe://boot.example.org/machine/7';
    const web = node({ metadata: { namespace: 'shop' } });
    expect(told(read, { uri }, web)).toBe('spiffe://example.org/ns/shop/sa/web');
    expect(told(read, { uri, validated: false }, web)).toStartWith('no: neither');
    expect(told(read, { uri, tls: false }, web)).toBe('no: certificates are issued over TLS alone');
    expect(told(read, {}, web)).toStartWith('no: neither');
    expect(told(read, { uri: 'spiffe://boot.example.com/machine/7' }, web)).toBe('no: no rule fits');
    expect(told(read, { uri }, node({ cluster: 'db', metadata: { namespace: 'shop' } }))).toBe('no: no rule fits');
    expect(told(read, { uri: 'one.example.org' })).toBe('spiffe://example.org/ns/one/sa/one.example.org');
  });

  test('cannot be widened by what a node says of itself', () => {
    const read = rules(byClient);
    const uri = 'spiffe://boot.example.org/machine/7';
    for (const namespace of ['', '..', '.', 'a/sa/admin', 'a b', '%2e', 'ä', undefined, 7]) {
      expect(told(read, { uri }, node({ metadata: { namespace } }))).toStartWith('no: ');
    }
  });

  test('are for bearers of a token', () => {
    const text = 'rules: [{ token_file: token, identity: "/ns/default/sa/{id}", dns_names: [web.example.org] }]';
    const token = 'aaaaaaaaaaaaaaaaaaaaaaaaaa';
    const read = rules(text, { token: `${token}\nbbbbbbbbbbbbbbbbbbbbbbbbbb\n` });
    expect(told(read, { token })).toBe('spiffe://example.org/ns/default/sa/n');
    expect(told(read, { token: 'b'.repeat(26) })).toBe('spiffe://example.org/ns/default/sa/n');
    expect(told(read, { token, tls: false })).toStartWith('no: ');
    for (const wrong of ['', 'a', token.slice(1), `${token}a`])
      expect(told(read, { token: wrong })).toStartWith('no: ');
  });

  test('are renewed for who has one, without rules', () => {
    const own = IdentityRules.ownIdentity(DOMAIN);
    expect(told(own, { uri: 'spiffe://example.org/ns/a/sa/b' })).toBe('spiffe://example.org/ns/a/sa/b');
    expect(told(own, { uri: 'spiffe://example.org/' })).toStartWith('no: ');
    expect(told(own, { uri: 'spiffe://example.org.evil/ns/a/sa/b' })).toStartWith('no: ');
    expect(told(own, { uri: 'spiffe://example.org/../x' })).toStartWith('no: ');
  });

  test.each([
    ['{}', 'a list rules is missing'],
    ['rules: [{ identity: /a }]', 'one of client and token_file'],
    ['rules: [{ client: "*", identity: /a }]', 'client is a name'],
    ['rules: [{ client: a, token_file: b, identity: /a }]', 'one of client and token_file'],
    ['rules: [{ client: a }]', 'identity is missing'],
    ['rules: [{ client: a, identity: a }]', 'begins with /'],
    ['rules: [{ client: a, identity: /a//b }]', 'is empty'],
    ['rules: [{ client: a, identity: "/{name}" }]', '{name} is unknown'],
    ['rules: [{ client: a, identity: /a, who: b }]', 'unknown field who'],
    ['rules: [{ client: a, identity: /a, dns_names: ["a b"] }]', 'dns_names'],
    ['rules: [{ client: a, identity: /a, node: { name: b } }]', 'unknown field name'],
    ['rules: [{ token_file: none, identity: /a }]', 'ENOENT'],
  ])('%s is refused', (text, words) => {
    expect(() => rules(text)).toThrow(words);
  });

  test('a token that could be guessed is refused', () => {
    const text = 'rules: [{ token_file: token, identity: /a }]';
    expect(() => rules(text, { token: 'secret' })).toThrow('at least 16');
    expect(() => rules(text, { token: '\n' })).toThrow('holds no token');
  });
});

describe('secrets', () => {
  function mesh(
    ttlSeconds: number,
    rulesFile = '',
  ): {
    clock: ManualClock;
    dispatcher: Dispatcher;
    made: MeshSecrets;
    log: string[];
    directory: string;
  } {
    const clock = new ManualClock(NOW);
    const dispatcher = new Dispatcher(clock, new SeededRandom(1), true);
    const log: string[] = [];
    const logger = new Logger('pilot', 'info', { write: (_level, _name, message) => log.push(message) });
    const directory = folder();
    const settings = { directory, trustDomain: DOMAIN, rulesFile, ttlSeconds };
    const made = new MeshSecrets(settings, { api, dispatcher, metrics: new Metrics(), logger }, () => {});
    ends.push(() => made.close());
    return { clock, dispatcher, made, log, directory };
  }

  const client = { uri: 'spiffe://example.org/ns/a/sa/b' };

  function certificateOf(resource: SnapshotResource | null): X509Certificate {
    const any = fromBinary(api.message('google.protobuf.Any')!, resource!.any) as unknown as { value: Uint8Array };
    const secret = fromBinary(
      api.message('envoy.extensions.transport_sockets.tls.v3.Secret')!,
      any.value,
    ) as unknown as Secret;
    if (secret.type.case !== 'tlsCertificate') throw new Error('no certificate');
    return new X509Certificate(Buffer.from(secret.type.value.certificateChain!.specifier.value as Uint8Array));
  }

  test('are renewed when half of their life is over, for who is there and for who comes back', () => {
    const { clock, dispatcher, made } = mesh(3600);
    let changes = 0;
    const open = (): ReturnType<MeshSecrets['open']> =>
      made.open(call(client), node(), () => {
        changes++;
      });
    const personal = open();
    const first = certificateOf(personal.get(SECRET_URL, 'default'));
    expect(first.validToDate.getTime()).toBe(NOW + HOUR);
    expect(certificateOf(personal.get(SECRET_URL, client.uri)).serialNumber).toBe(first.serialNumber);
    expect(personal.get(SECRET_URL, 'spiffe://example.org/ns/a/sa/c')).toBeNull();
    expect(personal.get(SECRET_URL, 'other')).toBeNull();
    expect(certificateOf(open().get(SECRET_URL, 'default')).serialNumber).toBe(first.serialNumber);
    clock.advance(0.44 * HOUR);
    dispatcher.timers.advance();
    expect(changes).toBe(0);
    clock.advance(0.07 * HOUR);
    dispatcher.timers.advance();
    expect(changes).toBe(2);
    const second = certificateOf(personal.get(SECRET_URL, 'default'));
    expect(second.serialNumber).not.toBe(first.serialNumber);
    expect(certificateOf(open().get(SECRET_URL, 'default')).serialNumber).toBe(second.serialNumber);
    personal.close();
  });

  test('are renewed at once when the authority is another, and both are trusted', async () => {
    const { made, directory } = mesh(3600);
    const { promise, resolve } = Promise.withResolvers<void>();
    const personal = made.open(call(client), node(), () => resolve());
    const before = certificateOf(personal.get(SECRET_URL, 'default'));
    const former = personal.get(SECRET_URL, 'ROOTCA')!;
    const other = folder();
    authority(other);
    writeFileSync(join(directory, 'other-roots.pem'), readFileSync(join(directory, 'root.pem')));
    for (const name of ['root.key', 'root.pem']) writeFileSync(join(directory, name), readFileSync(join(other, name)));
    await promise;
    const root = new X509Certificate(readFileSync(join(other, 'root.pem')));
    const after = certificateOf(personal.get(SECRET_URL, 'default'));
    expect([before.verify(root.publicKey), after.verify(root.publicKey)]).toEqual([false, true]);
    expect(personal.get(SECRET_URL, 'ROOTCA')!.version).not.toBe(former.version);
    expect(certificatesOf(made.authority.bundlePem)).toHaveLength(2);
  });

  test('have names of their own', () => {
    const { made } = mesh(3600);
    const names = [
      'default',
      'ROOTCA',
      'spiffe://example.org',
      'spiffe://example.org/a',
      'spiffe://example.org.other/a',
    ];
    expect(names.map((name) => made.owns(name))).toEqual([true, true, true, true, false]);
  });

  test('are not signed by a root that has expired', () => {
    const { made, clock, log } = mesh(3600);
    clock.advance(3651 * 24 * HOUR);
    const personal = made.open(call(client), node(), () => {});
    expect(personal.get(SECRET_URL, 'default')).toBeNull();
    expect(log[0]).toContain('the root of the mesh has expired');
  });

  test('are not for strangers, who are told of once', () => {
    const { made, log } = mesh(3600);
    const personal = made.open(call({}), node(), () => {});
    expect(personal.get(SECRET_URL, 'default')).toBeNull();
    expect(personal.get(SECRET_URL, 'default')).toBeNull();
    expect(log).toEqual([
      'node n (127.0.0.1:1) gets no certificate: neither a verified certificate nor a token was presented',
    ]);
    // Whom to trust is no secret.
    expect(personal.get(SECRET_URL, 'ROOTCA')).not.toBeNull();
    expect(personal.get(SECRET_URL, 'spiffe://example.org')).not.toBeNull();
  });

  test('cost a stranger with a token of its own making little, however many names it asks for', () => {
    const directory = folder();
    writeFileSync(join(directory, 'token'), 'a token that nobody guesses\n');
    writeFileSync(join(directory, 'rules.yaml'), 'rules: [{ token_file: token, identity: /a }]\n');
    const { made, clock, log } = mesh(3600, join(directory, 'rules.yaml'));
    const token = 'no-such-token-at-all';
    let asked = 0;
    const get = (): string => {
      asked++;
      return `Bearer ${token}`;
    };
    const asking = { ...call({}), headers: { get } } as unknown as GrpcServerCall;
    const personal = made.open(asking, node(), () => {});
    for (let i = 0; i < 1000; i++) expect(personal.get(SECRET_URL, `spiffe://example.org/${i}`)).toBeNull();
    expect([asked, log.length]).toEqual([1, 1]);
    // It may have become one.
    writeFileSync(join(directory, 'token'), `${token}\n`);
    clock.advance(2000);
    expect(personal.get(SECRET_URL, 'default')).not.toBeNull();
  });
});
