/** Certificates that a host has made up to be taken for another: each towards clusters that look at different things. */
import * as make from '../support/certificate-maker.ts';
import { httpUpstream, overTls, reply } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, http, httpListener, to } from './configs.ts';
import { steps, suite } from './harness.ts';
import { upstreamTls } from './tls-peers.ts';

const signs = make.keyUsage(0x86);
const root = make.makeCertificate({ cn: 'root', extensions: [make.authority(), signs] });
const stranger = make.makeCertificate({ cn: 'stranger', extensions: [make.authority(), signs] });
const LEAF = [make.keyUsage(0xa0), make.purposes(make.Purpose.server)];

function leaf(parts: Partial<make.CertificateParts> = {}, ...names: readonly Buffer[]): make.Made {
  const named = names.length === 0 ? [make.dns('server.test')] : names;
  return make.makeCertificate({ cn: 'leaf', issuer: root, extensions: [...LEAF, make.altNames(...named)], ...parts });
}
const middle = make.makeCertificate({ cn: 'middle', issuer: root, extensions: [make.authority(), signs] });
const limited = make.makeCertificate({
  cn: 'limited',
  issuer: root,
  extensions: [make.authority(), signs, make.nameConstraints('permitted', 'example.com')],
});

/** What the hosts present, by their names. */
const SERVERS: Readonly<Record<string, readonly make.Made[]>> = {
  good: [leaf()],
  below: [leaf({ issuer: middle }), middle],
  belowmissing: [leaf({ issuer: middle })],
  constrained: [leaf({ issuer: limited }), limited],
  stranger: [leaf({ issuer: stranger })],
  strangerexpired: [leaf({ issuer: stranger, from: -20, to: -10 })],
  forged: [leaf({ signer: stranger.keys })],
  selfsigned: [leaf({ issuer: null })],
  expired: [leaf({ from: -20, to: -10 })],
  tomorrow: [leaf({ from: 1 })],
  clients: [leaf({ extensions: [make.purposes(make.Purpose.client), make.altNames(make.dns('server.test'))] })],
  noextension: [leaf({ extensions: [] })],
  commonname: [leaf({ cn: 'server.test', extensions: LEAF })],
  commonnamebeside: [leaf({ cn: 'server.test' }, make.dns('other.test'))],
  other: [leaf({}, make.dns('other.test'))],
  capitals: [leaf({}, make.dns('SERVER.Test'))],
  zero: [leaf({}, make.dns('server.test\0.evil.test'))],
  dotted: [leaf({}, make.dns('server.test.'))],
  wildcard: [leaf({}, make.dns('*.test'))],
  wildcardall: [leaf({}, make.dns('*'))],
  wildcardpart: [leaf({}, make.dns('s*r.test'))],
  wildcardtwo: [leaf({}, make.dns('*.*'))],
  wildcardend: [leaf({}, make.dns('server.*'))],
  wildcardpunycode: [leaf({}, make.dns('xn--*.test'))],
  uri: [leaf({}, make.uri('server.test'))],
  address: [leaf({}, make.ip(127, 0, 0, 1))],
  addressname: [leaf({}, make.dns('127.0.0.1'))],
  many: [leaf({}, ...Array.from({ length: 500 }, (_, i) => make.dns(`n${i}.test`)), make.dns('server.test'))],
};

const ca = (more: Fields = {}): Fields => ({
  validation_context: { trusted_ca: { inline_string: root.pem }, ...more },
});
const exact = (type: string, value: string): Fields =>
  ca({ match_typed_subject_alt_names: [{ san_type: type, matcher: { exact: value } }] });

/** What clusters look at. */
const CHECKS: readonly (readonly [name: string, common: Fields, more: Fields])[] = [
  ['chain', ca(), { sni: 'server.test' }],
  ['allowexpired', ca({ allow_expired_certificate: true }), { sni: 'nobody.test' }],
  ['dns', exact('DNS', 'server.test'), { sni: 'nobody.test' }],
  ['ip', exact('IP_ADDRESS', '127.0.0.1'), {}],
  ['auto', ca(), { sni: 'server.test', auto_sni_san_validation: true }],
  ['depth', ca({ max_verify_depth: 1 }), { sni: 'server.test' }],
];

const clusters = Object.keys(SERVERS).flatMap((server) =>
  CHECKS.map(([check, common, more]) =>
    cluster(`${server}-${check}`, [`{{upstream:${server}}}`], { transport_socket: upstreamTls(common, more) }),
  ),
);

suite(
  'certificates of servers, made up',
  {
    config: bootstrap(
      [
        httpListener({
          routes: clusters.map(({ name }) => to(name as string, `/${name}/`, { timeout: '5s' })),
          log: '%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_PEER_SUBJECT% %UPSTREAM_PEER_DNS_SAN% %UPSTREAM_PEER_IP_SAN%',
        }),
      ],
      clusters,
    ),
    upstreams: Object.fromEntries(
      Object.entries(SERVERS).map(([name, chain]) => [
        name,
        overTls(
          httpUpstream(() => reply(200, name)),
          { cert: chain.map((one) => one.pem).join(''), key: chain[0]!.keyPem },
        ),
      ]),
    ),
    log: 'access.log',
    upstreamBytes: false,
    // The reasons are Envoy's own where it judges itself; of chains the runtime names what it found last.
    rewrite: [[/X509_verify_cert: .*?:TLS_error_end/g, 'X509_verify_cert: REASON']],
    stats: [/^cluster\.[^.]*\.(ssl\.(fail|hand|no_)|upstream_cx_connect_fail)/],
  },
  Object.keys(SERVERS).map((server) =>
    steps(
      server,
      async (exchange) => {
        const client = await exchange.connect('a');
        for (const [check] of CHECKS) {
          client.send(http(`GET /${server}-${check}/`));
          await exchange.expectResponse(client, { timeoutMs: 8000 });
        }
      },
      { logLines: CHECKS.length },
    ),
  ),
);
