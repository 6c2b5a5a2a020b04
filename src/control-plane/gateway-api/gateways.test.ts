import { describe, expect, test } from 'bun:test';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromJson, type JsonValue } from '@bufbuild/protobuf';
import { makeCertificate } from '../../../test/support/certificate-maker.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import { durationMs } from './durations.ts';
import { SUPPORTED_FEATURES } from './features.ts';
import { GatewayTranslator, type Translation } from './gateways.ts';
import { intersect, servedHostnames } from './hostnames.ts';
import { ManifestReader, readManifests } from './manifest-set.ts';
import { complaintsOf } from './status.ts';

const CONTROLLER = 'nuncio.dev/gateway-controller';
const testdata = join(import.meta.dirname, 'testdata');
const api = openApiRegistry();

function translate(text: string): Translation {
  const { set, problems } = readManifests([{ name: 'test.yaml', text }]);
  expect(problems).toEqual([]);
  return new GatewayTranslator(set, CONTROLLER).translate();
}

const authority = makeCertificate({ cn: 'authority' });
const leaf = makeCertificate({ cn: 'leaf' });
/** What stands in the files in place of certificates, which are made anew each time. */
const PLACES: Readonly<Record<string, string>> = {
  '{{certificate}}': leaf.pem,
  '{{key}}': leaf.keyPem,
  '{{authority}}': authority.pem,
};

/** Text with each of one side of the places by the other. */
function exchange(text: string, direction: 'in' | 'out'): string {
  let done = text;
  for (const [place, pem] of Object.entries(PLACES)) {
    const quoted = JSON.stringify(pem).slice(1, -1);
    done = direction === 'in' ? done.replaceAll(place, quoted) : done.replaceAll(quoted, place);
  }
  return done;
}

const TYPES = {
  listeners: 'envoy.config.listener.v3.Listener',
  routes: 'envoy.config.route.v3.RouteConfiguration',
  clusters: 'envoy.config.cluster.v3.Cluster',
  endpoints: 'envoy.config.endpoint.v3.ClusterLoadAssignment',
  secrets: 'envoy.extensions.transport_sockets.tls.v3.Secret',
} as const;

describe('translation, against golden files (GOLDEN=write makes them anew)', () => {
  for (const file of readdirSync(testdata).filter((name) => name.endsWith('.yaml'))) {
    test(file, () => {
      const { gateways, statuses } = translate(exchange(readFileSync(join(testdata, file), 'utf8'), 'in'));
      const resources: Record<string, unknown> = {};
      for (const [gateway, bundle] of gateways) {
        for (const [kind, type] of Object.entries(TYPES)) {
          for (const [name, resource] of bundle[kind as keyof typeof TYPES]) {
            // Whatever is made must be of the API.
            fromJson(api.message(type)!, resource as JsonValue, { registry: api.registry });
            resources[`${gateway} ${kind} ${name}`] = resource;
          }
        }
      }
      const golden = join(testdata, file.replace('.yaml', '.golden'));
      const made = exchange(`${JSON.stringify({ resources, statuses }, null, 1)}\n`, 'out');
      if (process.env.GOLDEN === 'write') writeFileSync(golden, made);
      expect(existsSync(golden)).toBe(true);
      expect(made).toBe(readFileSync(golden, 'utf8'));
    });
  }
});

describe('hostnames', () => {
  test.each([
    ['', 'a.example.com', 'a.example.com'],
    ['a.example.com', '', 'a.example.com'],
    ['*.example.com', 'a.example.com', 'a.example.com'],
    ['*.example.com', 'a.b.example.com', 'a.b.example.com'],
    ['*.example.com', 'example.com', null],
    ['a.example.com', '*.example.com', 'a.example.com'],
    ['*.example.com', '*.b.example.com', '*.b.example.com'],
    ['*.b.example.com', '*.example.com', '*.b.example.com'],
    ['a.example.com', 'b.example.com', null],
    ['A.example.com', 'a.EXAMPLE.com', 'a.example.com'],
  ])('%p and %p: %p', (listener, route, both) => {
    expect(intersect(listener, route)).toBe(both);
  });

  test('a route without hostnames has its listener’s', () => {
    expect(servedHostnames('*.example.com', [])).toEqual(['*.example.com']);
    expect(servedHostnames('*.example.com', ['x.org', 'a.example.com'])).toEqual(['a.example.com']);
  });
});

test('durations of GEP-2257', () => {
  expect(durationMs('1h')).toBe(3_600_000);
  expect(durationMs('1m30s')).toBe(90_000);
  expect(durationMs('500ms')).toBe(500);
  expect(durationMs('0s')).toBe(0);
  expect(durationMs('1.5s')).toBeNull();
  expect(durationMs('')).toBeNull();
});

describe('manifests', () => {
  test('what is wrong is reported with its line, and the rest counts', () => {
    const text = 'apiVersion: v1\nkind: Service\nmetadata: { name: a }\nspec: {}\n---\nkind: Service\n---\na: [\n';
    const { set, problems } = readManifests([{ name: 'f.yaml', text }]);
    expect(set.all('Service').map((each) => each.metadata.name)).toEqual(['a']);
    expect(problems.map(({ file, line }) => [file, line])).toEqual([
      ['f.yaml', 6],
      ['f.yaml', 9],
    ]);
  });

  test('a second object of one name is reported, the first one counts', () => {
    const one = 'apiVersion: v1\nkind: Service\nmetadata: { name: a }\nspec: { ports: [{ port: 1 }] }\n';
    const { set, problems } = readManifests([
      { name: 'a.yaml', text: one },
      { name: 'b.yaml', text: one.replace('port: 1', 'port: 2') },
    ]);
    expect(set.find('Service', 'default', 'a')?.spec.ports?.[0]?.port).toBe(1);
    expect(problems).toHaveLength(1);
  });

  const route = (rules: string): string =>
    `apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: a }\nspec:\n  rules:\n${rules}`;

  test.each([
    ['  - backendRef: []', 6, 'spec.rules.0.backendRef: unknown field'],
    ['  - matches:\n    - path:\n        valu: /a', 8, 'spec.rules.0.matches.0.path.valu: unknown field'],
    ['  - backendRefs:\n    - name: a\n      port: 70000', 8, 'spec.rules.0.backendRefs.0.port: not of 1 to 65535'],
    ['  - backendRefs: [{ port: 80 }]', 6, 'spec.rules.0.backendRefs.0: name is missing'],
    ['  - timeouts: { request: 5 }', 6, 'spec.rules.0.timeouts.request: this is no text'],
    ['  - name: Not_A_Name', 6, 'is not the name of a section'],
    ['  - matches: 5', 6, 'spec.rules.0.matches: this is no list'],
  ])('%j is a mistake in line %d', (rules, line, reason) => {
    const { set, problems } = readManifests([{ name: 'f.yaml', text: route(rules) }]);
    expect(problems.map((each) => each.line)).toEqual([line]);
    expect(problems[0]?.reason).toContain(reason);
    expect(set.all('HTTPRoute')).toEqual([]);
  });

  test('within a List as well', () => {
    const item = JSON.stringify({
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: { name: 'a' },
      spec: {},
    });
    const { problems } = readManifests([{ name: 'f.json', text: `{ "kind": "List", "items": [\n${item}\n] }` }]);
    expect(problems).toEqual([
      { file: 'f.json', line: 2, reason: 'Gateway default/a: spec: gatewayClassName is missing' },
    ]);
  });

  test('a file that is as it was is not read again, one that has changed is', () => {
    const reader = new ManifestReader();
    const one = { name: 'a.yaml', text: route('  - {}') };
    const first = reader.read([one]).set.find('HTTPRoute', 'default', 'a');
    expect(reader.read([one]).set.find('HTTPRoute', 'default', 'a')).toBe(first!);
    expect(reader.read([{ ...one, text: route('  - { nam: a }') }]).problems).toHaveLength(1);
    expect(reader.read([]).set.all('HTTPRoute')).toEqual([]);
  });

  test('null is nothing, and kinds of others are left alone', () => {
    const text = `${route('  - { name: null, backendRefs: null }')}\n---\napiVersion: example.com/v1\nkind: HTTPRoute\nmetadata: { name: b }\n`;
    const { set, problems } = readManifests([{ name: 'f.yaml', text }]);
    expect(problems).toEqual([]);
    expect(set.all('HTTPRoute').map((each) => each.metadata.name)).toEqual(['a']);
  });
});

test('what is amiss is said of every kind of object', () => {
  const { statuses } = translate(exchange(readFileSync(join(testdata, 'refusals.yaml'), 'utf8'), 'in'));
  const lines = statuses.flatMap(complaintsOf);
  for (const part of [
    'GatewayClass with-parameters: Accepted is False: InvalidParameters',
    'Gateway default/named-address: Accepted is False: UnsupportedAddress',
    'Gateway default/edge, listener twin-a: Conflicted is True: HostnameConflict',
    'Gateway default/edge, listener own: Accepted is False: UnsupportedProtocol',
    'HTTPRoute default/partly: PartiallyInvalid is True: UnsupportedValue: Dropped Rule 1',
    'BackendTLSPolicy default/unknown-authority: Accepted is False: Invalid',
    'ListenerSet default/more: Accepted is False: UnsupportedValue',
  ]) {
    expect(lines.some((line) => line.startsWith(part))).toBe(true);
  }
  expect(lines.join('\n')).not.toContain('listener good');
});

test('the claimed features are in order, as the status has to have them', () => {
  expect([...SUPPORTED_FEATURES]).toEqual([...SUPPORTED_FEATURES].sort());
});
