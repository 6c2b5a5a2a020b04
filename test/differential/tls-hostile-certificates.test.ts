/** Certificates that somebody has made up to get in: each on listeners that look at different things. */
import { connect } from 'node:tls';
import * as make from '../support/certificate-maker.ts';
import { bootstrap, type Fields, httpListener } from './configs.ts';
import type { Exchange } from './exchange.ts';
import { type Case, steps, suite } from './harness.ts';
import { certificate, downstreamTls } from './tls-peers.ts';

// An authority may sign handshakes too: clients of BoringSSL present no others.
const signs = make.keyUsage(0x86);
const root = make.makeCertificate({ cn: 'root', extensions: [make.authority(), signs] });
const stranger = make.makeCertificate({ cn: 'stranger', extensions: [make.authority(), signs] });
const newer = make.makeCertificate({ cn: 'newer', extensions: [make.authority(), signs] });
const LEAF = [make.keyUsage(0x80), make.purposes(make.Purpose.client)];
const client = make.dns('client.test');

type Parts = Partial<make.CertificateParts>;
function leaf(parts: Parts = {}, names: readonly Buffer[] = [client]): make.Made {
  const extensions = [...LEAF, ...(names.length === 0 ? [] : [make.altNames(...names)])];
  return make.makeCertificate({ cn: 'leaf', issuer: root, extensions, ...parts });
}
const extended = (...more: readonly Buffer[]): make.Made =>
  leaf({ extensions: [...LEAF, make.altNames(client), ...more] });

/** A leaf below an authority of this kind, and both of them as the client presents them. */
function below(parts: Parts, leafParts: Parts = {}): readonly make.Made[] {
  const middle = make.makeCertificate({ cn: 'middle', issuer: root, extensions: [make.authority(), signs], ...parts });
  return [leaf({ issuer: middle, ...leafParts }), middle];
}

function deep(levels: number): readonly make.Made[] {
  let issuer = root;
  const chain: make.Made[] = [];
  for (let i = 0; i < levels; i++) {
    issuer = make.makeCertificate({ cn: `level ${i}`, issuer, extensions: [make.authority(), signs] });
    chain.unshift(issuer);
  }
  return [leaf({ issuer }), ...chain];
}

const revoked = leaf({ cn: 'revoked' });
const revokedLater = leaf({ cn: 'revoked later' });
const released = leaf({ cn: 'released' });
const pinned = leaf({ cn: 'pinned', issuer: stranger });
const oneName = (name: Buffer): make.Made => leaf({}, [name]);
const shared = make.ecKeys();

/** By name, what the client presents: its own certificate first. */
const PRESENTED: Readonly<Record<string, readonly make.Made[]>> = {
  good: [leaf()],
  'good, with others behind it': [leaf(), stranger, newer, ...deep(3)],
  'good, with itself behind it': [leaf(), root],
  'in the middle: good': below({}),
  'in the middle: one that is missing': below({}).slice(0, 1),
  'in the middle: out of order': [...deep(2)].slice(0, 1).concat([...deep(2)].slice(1).reverse()),
  'in the middle: two': deep(2),
  'in the middle: five': deep(5),
  'in the middle: no authority': below({ extensions: [make.authority(false), signs] }),
  'in the middle: nothing said': below({ extensions: [signs] }),
  'in the middle: may not sign': below({ extensions: [make.authority(), make.keyUsage(0x80)] }),
  'in the middle: for servers alone': below({
    extensions: [make.authority(), signs, make.purposes(make.Purpose.server)],
  }),
  'in the middle: expired': below({ from: -20, to: -10 }),
  'in the middle: of tomorrow': below({ from: 1 }),
  'in the middle: of version 1': below({ version: 1 }),
  'in the middle: forged': below({ signer: stranger.keys }),
  'in the middle: no further path': [...below({ extensions: [make.authority(true, 0), signs] })],
  'in the middle: a path too long': (() => {
    const limited = make.makeCertificate({ cn: 'limited', issuer: root, extensions: [make.authority(true, 0), signs] });
    const middle = make.makeCertificate({ cn: 'middle', issuer: limited, extensions: [make.authority(), signs] });
    return [leaf({ issuer: middle }), middle, limited];
  })(),
  'in the middle: names permitted': below({
    extensions: [make.authority(), signs, make.nameConstraints('permitted', 'test')],
  }),
  'in the middle: other names permitted': below({
    extensions: [make.authority(), signs, make.nameConstraints('permitted', 'example.com')],
  }),
  'in the middle: names excluded': below({
    extensions: [make.authority(), signs, make.nameConstraints('excluded', 'client.test')],
  }),
  'in the middle: unknown and critical': below({
    extensions: [make.authority(), signs, make.extension('1.2.3.4', Buffer.of(5, 0), true)],
  }),
  'in the middle: a leaf': [leaf({ issuer: leaf({ cn: 'middle' }) }), leaf({ cn: 'middle' })],
  'of a stranger': [leaf({ issuer: stranger })],
  'of a stranger, with the stranger': [leaf({ issuer: stranger }), stranger],
  'of a stranger with the name of ours': [
    leaf({ issuer: make.makeCertificate({ cn: 'root', extensions: [make.authority(), signs] }) }),
  ],
  'of a stranger, expired': [leaf({ issuer: stranger, from: -20, to: -10 })],
  'of a stranger below ours, expired': below({ signer: stranger.keys }, { from: -20, to: -10 }),
  'signed by itself': [leaf({ issuer: null })],
  'signed by itself, with our name': [leaf({ issuer: null, cn: 'root' })],
  'signed by itself, with our name as issuer': [leaf({ issuer: null, issuerCn: 'root' })],
  'an authority signed by itself': [stranger],
  'our authority': [root],
  'another authority of ours': [newer],
  forged: [leaf({ signer: stranger.keys })],
  'two signature algorithms': [leaf({ outerDigest: 'sha1' })],
  'signed with SHA-1': [leaf({ digest: 'sha1' })],
  'RSA of 2048 bits': [leaf({ keys: make.rsaKeys() })],
  'RSA of 1024 bits': [leaf({ keys: make.rsaKeys(1024) })],
  'P-384': [leaf({ keys: make.ecKeys('P-384') })],
  'of version 1': [leaf({ version: 1 })],
  'no extension': [leaf({ extensions: [] })],
  expired: [leaf({ from: -20, to: -10 })],
  'of tomorrow': [leaf({ from: 1 })],
  'ends before it begins': [leaf({ from: 10, to: -10 })],
  'for servers': [leaf({ extensions: [make.purposes(make.Purpose.server), make.altNames(client)] })],
  'for mail': [leaf({ extensions: [make.purposes(make.Purpose.email), make.altNames(client)] })],
  'for anything': [leaf({ extensions: [make.purposes(make.Purpose.any), make.altNames(client)] })],
  'for nothing': [leaf({ extensions: [make.purposes(), make.altNames(client)] })],
  'unknown and critical': [extended(make.extension('1.2.3.4', Buffer.of(5, 0), true))],
  unknown: [extended(make.extension('1.2.3.4', Buffer.of(5, 0)))],
  'names twice': [extended(make.altNames(make.dns('other.test')))],
  'unknown twice': [extended(make.extension('1.2.3.4', Buffer.of(5, 0)), make.extension('1.2.3.4', Buffer.of(5, 0)))],
  'names that are no names': [leaf({ extensions: [...LEAF, make.extension('2.5.29.17', Buffer.of(4, 1, 0))] })],
  'names without a name': [leaf({ extensions: [...LEAF, make.altNames()] })],
  'the key id of another authority': [extended(make.authorityKeyId(Buffer.alloc(20, 7)))],
  'a negative serial number': [leaf({ serial: Buffer.of(0xff) })],
  'a serial number of 30 bytes': [leaf({ serial: Buffer.alloc(30, 0x11) })],
  'thousands of extensions': [
    extended(...Array.from({ length: 3000 }, (_, i) => make.extension(`1.2.4.${i}`, Buffer.of(5, 0)))),
  ],
  'thousands of names': [
    leaf(
      {},
      Array.from({ length: 4000 }, (_, i) => make.dns(`n${i}.test`)),
    ),
  ],
  'a zero byte in the name': [oneName(make.dns('client.test\0.evil.test'))],
  'a zero byte behind the name': [oneName(make.dns('client.test\0'))],
  'a zero byte before the name': [oneName(make.dns('evil.test\0client.test'))],
  'a dot behind the name': [oneName(make.dns('client.test.'))],
  'a dot before the name': [oneName(make.dns('.client.test'))],
  'the name in capitals': [oneName(make.dns('CLIENT.Test'))],
  'the name with a space': [oneName(make.dns(' client.test'))],
  'a wildcard': [oneName(make.dns('*.test'))],
  'a wildcard for everything': [oneName(make.dns('*'))],
  'a wildcard in a label': [oneName(make.dns('c*t.test'))],
  'a wildcard behind a label': [oneName(make.dns('client*.test'))],
  'two wildcards in a label': [oneName(make.dns('**.test'))],
  'two wildcards': [oneName(make.dns('*.*'))],
  'a wildcard at the end': [oneName(make.dns('client.*'))],
  'a wildcard in an A-label': [oneName(make.dns('xn--*.test'))],
  'the name as a URI': [oneName(make.uri('client.test'))],
  'the name as an email': [oneName(make.email('client.test'))],
  'the name as the common name': [leaf({ cn: 'client.test' }, [])],
  'the name as the common name beside others': [leaf({ cn: 'client.test' }, [make.dns('other.test')])],
  'an address': [oneName(make.ip(10, 0, 0, 1))],
  'an address of six': [oneName(make.ip(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1))],
  'an address of six that maps one of four': [oneName(make.ip(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1))],
  'an address as a name': [oneName(make.dns('10.0.0.1'))],
  'an address of five bytes': [oneName(make.ip(10, 0, 0, 1, 1))],
  'an address with its mask': [oneName(make.ip(10, 0, 0, 1, 255, 255, 255, 255))],
  'an address of no bytes': [oneName(make.ip())],
  revoked: [revoked],
  'revoked by the newer list': [revokedLater],
  'released by the newer list': [released],
  'pinned, though of a stranger': [pinned],
  'behind the pinned one': [leaf({ issuer: pinned }), pinned],
  'the key of the pinned one': [
    make.makeCertificate({ cn: 'other', keys: shared, issuer: stranger, extensions: LEAF }),
  ],
};

const roots = `${root.pem}${newer.pem}`;
const oldList = make.makeRevocationList(root, [revoked, released], { from: -5 });
const newList = make.makeRevocationList(root, [revoked, revokedLater], { from: -1 });
const inline = (text: string): Fields => ({ inline_string: text });
const trusting = (more: Fields = {}): Fields => ({ trusted_ca: inline(roots), ...more });
const named = (...matchers: readonly Fields[]): Fields => trusting({ match_typed_subject_alt_names: matchers });
const spki = (): string => {
  const { createHash } = require('node:crypto') as typeof import('node:crypto');
  return createHash('sha256')
    .update(shared.publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64');
};

/** What listeners look at. */
const CHECKS: Readonly<Record<string, Fields>> = {
  chain: trusting(),
  allowexpired: trusting({ allow_expired_certificate: true }),
  depth: trusting({ max_verify_depth: 2 }),
  shallow: trusting({ max_verify_depth: 0 }),
  lists: trusting({ crl: inline(oldList + newList) }),
  leaflists: trusting({ crl: inline(oldList + newList), only_verify_leaf_cert_crl: true }),
  listsexpired: trusting({ crl: inline(newList + oldList), allow_expired_certificate: true }),
  dns: named({ san_type: 'DNS', matcher: { exact: 'client.test' } }),
  others: named(
    { san_type: 'DNS', matcher: { suffix: '.evil.test' } },
    { san_type: 'IP_ADDRESS', matcher: { exact: '10.0.0.1' } },
    { san_type: 'IP_ADDRESS', matcher: { exact: '2001:db8::1' } },
    { san_type: 'IP_ADDRESS', matcher: { exact: '::ffff:10.0.0.1' } },
  ),
  untrusted: trusting({
    trust_chain_verification: 'ACCEPT_UNTRUSTED',
    match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'client.test' } }],
  }),
  pins: { verify_certificate_hash: [pinned.sha256], verify_certificate_spki: [spki()] },
};

const LOG = 'peer=%DOWNSTREAM_PEER_SUBJECT% dns=%DOWNSTREAM_PEER_DNS_SAN% ip=%DOWNSTREAM_PEER_IP_SAN%';

function listener(name: string, context: Fields): Fields {
  const made = httpListener({
    name,
    routes: [
      {
        match: { prefix: '/', tls_context: { validated: true } },
        direct_response: { status: 200, body: { inline_string: 'validated' } },
      },
      { match: { prefix: '/' }, direct_response: { status: 200, body: { inline_string: 'not validated' } } },
    ],
    hcm: { stat_prefix: name },
    listener: {
      stat_prefix: name,
      access_log: [
        {
          name: 'envoy.access_loggers.file',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
            path: '{{tmp}}/access.log',
            log_format: { text_format_source: { inline_string: `${name} ${LOG}\n` } },
          },
        },
      ],
    },
  }) as { filter_chains: Fields[] };
  const socket = downstreamTls(
    { tls_certificates: [certificate('server-ec')], validation_context: context },
    { require_client_certificate: false },
  );
  return { ...made, filter_chains: [{ ...made.filter_chains[0], transport_socket: socket }] };
}

/** @returns what the listener answers; empty: nothing */
function present(port: number, chain: readonly make.Made[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      servername: 'server.test',
      cert: chain.map((one) => one.pem).join(''),
      key: chain[0]!.keyPem,
    });
    let received = '';
    socket.setTimeout(8000, () => socket.destroy(new Error('nothing came')));
    socket.on('secureConnect', () => socket.write('GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n'));
    socket.on('data', (bytes: Buffer) => {
      received += bytes.toString('latin1');
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve(received.split('\r\n\r\n')[1] ?? ''));
  });
}

/** Tickets of so large a certificate are too large for the client, whose alert may come before or after the close. */
const LARGE = /^thousands/;

function presented(name: string, chain: readonly make.Made[]): Case {
  const listeners = Object.keys(CHECKS);
  return steps(
    name,
    async (exchange: Exchange) => {
      for (const each of listeners) {
        const answer = await present(exchange.port(each), chain);
        exchange.note(each, answer === '' ? '[refused]' : answer);
      }
    },
    {
      logLines: listeners.length,
      ...(LARGE.test(name) ? { stats: [/^listener\.[^.]*\.ssl\.(fail|no_cert|hand)/] } : {}),
    },
  );
}

suite(
  'certificates of clients, made up',
  {
    config: bootstrap(
      Object.entries(CHECKS).map(([name, context]) => listener(name, context)),
      [],
    ),
    log: 'access.log',
    stats: [/^listener\.[^.]*\.ssl\.(fail|no_cert|conn|hand)/],
  },
  Object.entries(PRESENTED).map(([name, chain]) => presented(name, chain)),
);
