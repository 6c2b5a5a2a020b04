/** Secrets: static, from files by SDS, and their renewal; `/certs`; the verdicts on TLS contexts. */

import { copyFileSync, mkdirSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { bootstrap, cluster, type Fields, httpListener, typed } from './configs.ts';
import type { Exchange } from './exchange.ts';
import { sortedJson } from './exchange.ts';
import { accepted, refused, steps, suite, type ValidateCase, validateSuite } from './harness.ts';
import { certificate, downstreamTls, pemPath, tlsExchange, trusting, upstreamTls } from './tls-peers.ts';

const TLS = 'envoy.extensions.transport_sockets.tls.v3';

/** Puts a file of the test certificates in a place by a move. */
function place(folder: string, name: string, from: string): void {
  copyFileSync(pemPath(from), join(folder, `${name}.new`));
  renameSync(join(folder, `${name}.new`), join(folder, name));
}

const pairAt = (folder: string): Fields => ({
  certificate_chain: { filename: `${folder}/tls.crt` },
  private_key: { filename: `${folder}/tls.key` },
});
const secretFile = (name: string, secret: Fields): Fields => ({
  resources: [typed(`${TLS}.Secret`, { name, ...secret })],
});
const sds = (name: string, file: string): Fields => ({
  name,
  sds_config: { path_config_source: { path: `{{tmp}}/${file}` } },
});

function listener(name: string, socket: Fields): Fields {
  const made = httpListener({
    name,
    routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }],
    listener: { stat_prefix: name },
  }) as { filter_chains: Fields[] };
  return { ...made, filter_chains: [{ ...made.filter_chains[0], transport_socket: socket }] };
}

/** Asks until the server shows a certificate: renewals take a moment. */
async function until(exchange: Exchange, stat: string, value: number): Promise<void> {
  await exchange.expectStat(stat, value);
}

const updates = (name: string): string => `listener.${name}.server_ssl_socket_factory.ssl_context_update_by_sds`;

suite(
  'secrets',
  {
    fresh: true,
    config: {
      node: { id: 'node', cluster: 'cluster' },
      static_resources: {
        secrets: [
          // Nobody asks for these yet; they are held and shown.
          { name: 'token', generic_secret: { secret: { inline_string: 'hidden' } } },
          { name: 'tokens', generic_secret: { secrets: { a: { inline_string: 'x' }, b: { inline_bytes: 'eA==' } } } },
          { name: 'pair', tls_certificate: certificate('server-ec') },
          { name: 'roots', validation_context: trusting() },
        ],
        listeners: [
          listener(
            'static',
            downstreamTls(
              {
                tls_certificate_sds_secret_configs: [{ name: 'pair' }],
                validation_context_sds_secret_config: { name: 'roots' },
              },
              { require_client_certificate: true },
            ),
          ),
          listener('sds', downstreamTls({ tls_certificate_sds_secret_configs: [sds('front', 'front.json')] })),
          listener('watched', downstreamTls({ tls_certificate_sds_secret_configs: [sds('mount', 'mount.json')] })),
          listener(
            'combined',
            downstreamTls(
              {
                tls_certificates: [certificate('server-ec')],
                combined_validation_context: {
                  default_validation_context: {
                    match_typed_subject_alt_names: [{ san_type: 'DNS', matcher: { exact: 'client.test' } }],
                  },
                  validation_context_sds_secret_config: sds('clients', 'clients.json'),
                },
              },
              { require_client_certificate: true },
            ),
          ),
        ],
        clusters: [
          cluster('u', ['{{refused}}'], { transport_socket: upstreamTls({ validation_context: trusting() }) }),
        ],
      },
    },
    prepare: (tmp) => {
      place(tmp, 'tls.crt', 'server-ec.pem');
      place(tmp, 'tls.key', 'server-ec.key');
      for (const [version, name] of [
        ['v1', 'server-ec'],
        ['v2', 'other-ec'],
      ] as const) {
        const folder = join(tmp, 'mount', version);
        mkdirSync(folder, { recursive: true });
        place(folder, 'tls.crt', `${name}.pem`);
        place(folder, 'tls.key', `${name}.key`);
      }
      symlinkSync('v1', join(tmp, 'mount', '..data'));
      symlinkSync('..data/tls.crt', join(tmp, 'mount', 'tls.crt'));
      symlinkSync('..data/tls.key', join(tmp, 'mount', 'tls.key'));
    },
    files: {
      'front.json': secretFile('front', { tls_certificate: pairAt('{{tmp}}') }),
      'mount.json': secretFile('mount', {
        tls_certificate: { ...pairAt('{{tmp}}/mount'), watched_directory: { path: '{{tmp}}/mount' } },
      }),
      'clients.json': secretFile('clients', { validation_context: trusting('stranger') }),
    },
    stats: [/^listener\.(?!admin)[^.]*\.(ssl\.(fail|conn|hand)|server_ssl)/],
  },
  [
    steps('static ones', async (exchange) => {
      await tlsExchange(exchange, { listener: 'static', cert: 'client' });
      await tlsExchange(exchange, { listener: 'static', cert: 'client-stranger' });
    }),
    steps('a discovered one', async (exchange) => {
      await tlsExchange(exchange, { listener: 'sds' });
    }),
    steps('a mismatched pair is refused, the next good one taken', async (exchange) => {
      await tlsExchange(exchange, { listener: 'sds' });
      place(exchange.side.tmp, 'tls.crt', 'other-ec.pem');
      await exchange.expect(
        'a failed rotation',
        async () => (await exchange.stat('sds.front.key_rotation_failed')) > 0,
      );
      await tlsExchange(exchange, { listener: 'sds' });
      place(exchange.side.tmp, 'tls.key', 'other-ec.key');
      await until(exchange, updates('sds'), 2);
      await tlsExchange(exchange, { listener: 'sds' });
    }),
    steps('a connection outlives the rotation', async (exchange) => {
      const client = await exchange.connect('sds', { recorded: false });
      client.reset();
      place(exchange.side.tmp, 'tls.key', 'other-ec.key');
      place(exchange.side.tmp, 'tls.crt', 'other-ec.pem');
      await until(exchange, updates('sds'), 2);
      await tlsExchange(exchange, { listener: 'sds' });
    }),
    steps('a mounted directory is swapped', async (exchange) => {
      await tlsExchange(exchange, { listener: 'watched' });
      const mount = join(exchange.side.tmp, 'mount');
      symlinkSync('v2', join(mount, '..data_tmp'));
      renameSync(join(mount, '..data_tmp'), join(mount, '..data'));
      await until(exchange, updates('watched'), 2);
      await tlsExchange(exchange, { listener: 'watched' });
    }),
    steps('a secret of another name', async (exchange) => {
      exchange.side.write('front.json', secretFile('back', { tls_certificate: pairAt('{{tmp}}') }));
      await exchange.expectStat('sds.front.update_rejected', 1);
      await tlsExchange(exchange, { listener: 'sds' });
    }),
    steps('a secret of another certificate', async (exchange) => {
      exchange.side.write('front.json', secretFile('front', { tls_certificate: certificate('server-rsa') }));
      await exchange.expectStat('sds.front.update_success', 2);
      await until(exchange, updates('sds'), 2);
      await tlsExchange(exchange, { listener: 'sds' });
    }),
    steps('discovered authorities, merged with the default', async (exchange) => {
      await tlsExchange(exchange, { listener: 'combined', cert: 'client' });
      await tlsExchange(exchange, { listener: 'combined', cert: 'client-stranger' });
      exchange.side.write('clients.json', secretFile('clients', { validation_context: trusting() }));
      await until(exchange, updates('combined'), 2);
      await tlsExchange(exchange, { listener: 'combined', cert: 'client' });
      await tlsExchange(exchange, { listener: 'combined', cert: 'client-bare' });
    }),
    steps('secrets in a dump, without what is secret', async (exchange) => {
      for (const kind of ['static_secrets', 'dynamic_active_secrets']) {
        const { body } = await exchange.admin(`/config_dump?resource=${kind}`, { record: 'none' });
        const { configs } = JSON.parse(body) as { configs: { name: string }[] };
        // Envoy keeps them in no order.
        const sorted = configs
          .sort((a, b) => (a.name < b.name ? -1 : 1))
          .map((each) => sortedJson(JSON.stringify(each)));
        exchange.note(kind, sorted.join('\n'));
      }
    }),
    steps('certificates as the admin server shows them', async (exchange) => {
      const { body } = await exchange.admin('/certs', { record: 'none' });
      const { certificates } = JSON.parse(body) as { certificates: unknown[] };
      // The path of a static secret's file is not known to workers, which show it as inline.
      const texts = certificates
        .map((each) => JSON.stringify(each, null, 1).replace(/"path": "[^"]*"/g, '"path"'))
        .sort();
      exchange.note('certs', texts.join('\n'));
      const { body: stats } = await exchange.proxy.admin('/stats?filter=expiration_unix_time');
      exchange.note('stats', stats);
    }),
  ],
);

const down = (common: Fields, more: Fields = {}): Fields => bootstrap([listener('a', downstreamTls(common, more))], []);
const up = (common: Fields, more: Fields = {}): Fields =>
  bootstrap([], [cluster('c', ['{{refused}}'], { transport_socket: upstreamTls(common, more) })]);
const pair = [certificate('server-rsa')];
const file = (name: string): Fields => ({ filename: pemPath(name) });
const verdicts: readonly ValidateCase[] = [
  accepted('a plain context', down({ tls_certificates: pair })),
  refused('no certificate', down({})),
  refused('an empty certificate', down({ tls_certificates: [{}] })),
  refused('a chain without key', down({ tls_certificates: [{ certificate_chain: file('server-rsa.pem') }] })),
  refused('a key without chain', down({ tls_certificates: [{ private_key: file('server-rsa.key') }] })),
  refused(
    'another key',
    down({ tls_certificates: [{ certificate_chain: file('server-rsa.pem'), private_key: file('other-rsa.key') }] }),
  ),
  refused(
    'a missing file',
    down({ tls_certificates: [{ certificate_chain: { filename: '/nowhere' }, private_key: file('other-rsa.key') }] }),
  ),
  accepted('two certificates of one type', down({ tls_certificates: [...pair, certificate('other-rsa')] })),
  refused(
    'authorities that are none',
    down({ tls_certificates: pair, validation_context: { trusted_ca: file('root.key') } }),
  ),
  accepted(
    'a revocation list that is none',
    down({ tls_certificates: pair, validation_context: trusting('root', { crl: { inline_string: 'x' } }) }),
  ),
  refused(
    'a revocation list without authorities',
    down({ tls_certificates: pair, validation_context: { crl: file('root.crl.pem') } }),
  ),
  refused('two generic secrets of one name', {
    static_resources: { secrets: ['a', 'a'].map((name) => ({ name, generic_secret: {} })) },
  }),
  refused('an unknown static secret', down({ tls_certificate_sds_secret_configs: [{ name: 's' }] })),
  refused('an unknown cipher', down({ tls_certificates: pair, tls_params: { cipher_suites: ['X'] } })),
  refused('an unknown curve', down({ tls_certificates: pair, tls_params: { ecdh_curves: ['X'] } })),
  refused('a protocol name too long', down({ tls_certificates: pair, alpn_protocols: ['a'.repeat(256)] })),
  accepted(
    'the lowest version above the highest',
    down({
      tls_certificates: pair,
      tls_params: { tls_minimum_protocol_version: 'TLSv1_3', tls_maximum_protocol_version: 'TLSv1_2' },
    }),
  ),
  refused('a must for staples', down({ tls_certificates: pair }, { ocsp_staple_policy: 'MUST_STAPLE' })),
  accepted('strict staples without any', down({ tls_certificates: pair }, { ocsp_staple_policy: 'STRICT_STAPLING' })),
  refused('a key log nowhere', down({ tls_certificates: pair, key_log: { path: '/nowhere/at/all' } })),
  accepted('an upstream context', up({})),
  refused('two client certificates', up({ tls_certificates: [...pair, certificate('server-ec')] })),
  refused('names by SNI without context', up({}, { auto_sni_san_validation: true })),
  refused('names by SNI without authorities', up({ validation_context: {} }, { auto_sni_san_validation: true })),
  accepted('names by SNI', up({ validation_context: trusting() }, { auto_sni_san_validation: true })),
];
validateSuite('TLS contexts', verdicts);
