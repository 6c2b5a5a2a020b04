/** Whatever is read piece by piece is what a reading of the whole gives; whatever there is to complain about is left to that. */
import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { type JsonObject, type Message, toBinary, toJson } from '@bufbuild/protobuf';
import { editedText } from '../../../test/support/text-edits.ts';
import { openApiRegistry } from '../../api/api-registry.ts';
import type { Bootstrap } from '../../api/gen/envoy/config/bootstrap/v3/bootstrap_pb.d.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import { SeededRandom } from '../../base/random.ts';
import { SourceFile } from '../diagnostics/source-file.ts';
import { plainJson } from './field-values.ts';
import { type ConfigFormat, type ConfigInput, loadConfig } from './load-config.ts';
import { loadSplit } from './split-load.ts';
import { parseYaml } from './yaml-tree.ts';

const api = openApiRegistry();
const desc = api.message('envoy.config.bootstrap.v3.Bootstrap')!;
const PATH = ['static_resources', 'clusters'];

function input(content: string, format: ConfigFormat): ConfigInput {
  return { name: `envoy.${format}`, format, content };
}

/** The message put together again; null: it was not read in pieces. */
function inPieces(from: ConfigInput): Bootstrap | null {
  const split = loadSplit<Bootstrap>(from, { api, desc }, PATH, 0);
  if (split === null) return null;
  const items = [...split.items()];
  if (items.includes(null)) {
    expect(items.indexOf(null)).toBe(items.length - 1);
    return null;
  }
  expect(items.length).toBeGreaterThan(0);
  split.message.staticResources!.clusters = items as Message[] as Cluster[];
  return split.message;
}

/** @returns whether the text was read in pieces */
function agrees(from: ConfigInput): boolean {
  const pieces = inPieces(from);
  if (pieces === null) return false;
  const whole = loadConfig<Bootstrap>([from], { api, desc });
  if (!whole.ok) throw new Error(`refused as a whole: ${whole.error.map(({ reason }) => reason).join('; ')}`);
  expect(whole.value.warnings).toEqual([]);
  expect(Buffer.from(toBinary(desc, pieces)).equals(toBinary(desc, whole.value.message))).toBe(true);
  return true;
}

const LIST = `
  - name: a
    type: STATIC
    load_assignment:
      cluster_name: a
      endpoints:
      - lb_endpoints:
        - endpoint: { address: { socket_address: { address: 10.0.0.1, port_value: 80 } } }
  # one more
  -
    name: "b: c"
    connect_timeout: 1.5s

  - {name: d, metadata: {filter_metadata: {x: {y: [1, yes, null, 'it''s']}}}}
  -   name: e
      alt_stat_name: >-
        folded
        text
`;
const HEAD = 'admin:\n  address: { pipe: { path: /a } }\nstatic_resources:\n';

const READABLE: readonly (readonly [what: string, text: string])[] = [
  ['a list behind others', `${HEAD}  listeners: []\n  clusters:${LIST}`],
  ['a list before others', `${HEAD}  clusters: # all\n${LIST}  listeners: []\nnode: { id: x }\n`],
  ['dashes as deep as the key', `${HEAD}  clusters:${LIST.replaceAll(/^ {2}/gm, '  ')}  secrets: []\n`],
  ['dashes deeper than the key', `static_resources:\n clusters:${LIST}node: {}\n`],
  ['line breaks of another kind', `${HEAD}  clusters:${LIST}node: {}\n`.replaceAll('\n', '\r\n')],
  ['no line break at the end', `${HEAD}  clusters:\n  - name: a`],
  ['a document begins and ends', `---\n${HEAD}  clusters:${LIST}...\n`],
  ['another document', `${HEAD}  clusters:${LIST}---\nstatic_resources: 7\n`],
  [
    'what looks like anchors and aliases',
    `${HEAD}  clusters:\n  - name: a\n    health_checks: []\n    alt_stat_name: /x?a=1&b=2*3\n  - name: "*b"\nnode: { id: "*" }\n`,
  ],
  ['an anchor that nobody uses', `node: { id: &n a }\n${HEAD}  clusters:\n  - name: &n b\n`],
  ['keys that begin alike', `node: {}\nadmin: {}\nstatic_resources:\n  clusters:${LIST}`],
  [
    'the same words in a text',
    `node:\n  id: |\n    static_resources:\n      clusters:\n      - x\n${HEAD}  clusters:${LIST}`,
  ],
];

const UNREADABLE: readonly (readonly [what: string, text: string])[] = [
  ['nothing below the key', `${HEAD}  clusters:\n`],
  ['a list in brackets', `${HEAD}  clusters: [{name: a}]\n`],
  ['a list in brackets on lines of its own', `${HEAD}  clusters:\n    [\n    {name: a}\n    ]\n`],
  ['a single item', `${HEAD}  clusters:\n    name: a\n`],
  ['JSON names', `staticResources:\n  clusters:${LIST}`],
  ['an anchor and its alias', `${HEAD}  clusters:\n  - name: &n a\n    alt_stat_name: *n\n`],
  ['an alias of what stands elsewhere', `node: { id: &n a }\n${HEAD}  clusters:\n  - name: *n\n`],
  [
    'an anchor that takes the place of another',
    `node: { id: &n a }\n${HEAD}  clusters:\n  - name: &n b\n  listeners:\n  - name: *n\n`,
  ],
  ['an anchor that others use', `${HEAD}  clusters:\n  - name: &n a\nnode: { id: *n }\n`],
  ['an item that is no mapping', `${HEAD}  clusters:\n  - a\n`],
  ['an empty item', `${HEAD}  clusters:\n  - name: a\n  -\n`],
  ['a list in the list', `${HEAD}  clusters:\n  - - name: a\n`],
  ['a key written twice', `${HEAD}  clusters:\n  - name: a\n    name: b\n`],
  ['the list written twice', `${HEAD}  clusters:\n  - name: a\n  clusters:\n  - name: b\n`],
  ['a field that is unknown', `${HEAD}  clusters:\n  - nam: a\n`],
  ['another field that is unknown', `${HEAD}  clusters:\n  - name: a\n  lusters: []\n`],
  ['a tab', `${HEAD}  clusters:\n  - name: a\n\t- name: b\n`],
  ['a directive', `%TAG !e! tag:example.com,2000:\n---\n${HEAD}  clusters:\n  - name: a\n`],
  ['a text that is not closed', `${HEAD}  clusters:\n  - name: "a\n  - name: b\n`],
  ['brackets that are not closed', `${HEAD}  clusters:\n  - {name: a,\n  - name: b}\n`],
];

describe('YAML', () => {
  test.each([...READABLE])('is read in pieces: %s', (_what, text) => {
    expect(agrees(input(text, 'yaml'))).toBe(true);
  });
  test.each([...UNREADABLE])('is left to be read as a whole: %s', (_what, text) => {
    expect(agrees(input(text, 'yaml'))).toBe(false);
  });
});

describe('JSON', () => {
  const items = '{"name":"a]}\\"","type":"STATIC"} , {name:\'b{\', "metadata":{"filter_metadata":{"x":{"y":[1,{}]}}}}';
  test.each([
    `{"static_resources":{"clusters":[${items}]}}`,
    `{"node":{"id":"x"},"static_resources":{"listeners":[],"clusters":[${items},],"secrets":[]},"admin":{}}`,
    `{"static_resources":{"clusters":[${items}],"clusters":[{"name":"c"}]}}`,
    `{"static_resources":{"clusters":[{"name":"c"}]},"static_resources":{"clusters":[${items}]}}`,
  ])('is read in pieces: %s', (text) => expect(agrees(input(text, 'json'))).toBe(true));

  test.each([
    '{"static_resources":{"clusters":[]}}',
    '{"static_resources":{"clusters":{"name":"a"}}}',
    '{"static_resources":{"clusters":[{"name":"a"}],"clusters":{"name":"b"}}}',
    '{"static_resources":{"clusters":[{"name":"a"},null]}}',
    '{"static_resources":{"clusters":[[{"name":"a"}]]}}',
    '{"static_resources":{"clusters":[{"name":"a"}}',
    '{"static_resources":{"clusters":[{"name":"a"]}}',
    '{"static_resources":{"clusters":[{"name":"a"}]}} x',
    '{"static_resources":{"clusters":[{"name":"a","nam":1}]}}',
    '{"staticResources":{"clusters":[{"name":"a"}]}}',
    `{"static_resources":{"clusters":[${'{"a":'.repeat(200)}1${'}'.repeat(200)}]}}`,
  ])('is left to be read as a whole: %s', (text) => expect(agrees(input(text, 'json'))).toBe(false));
});

const folder = new URL('../../../test/config-cases/valid/', import.meta.url);
const corpus = readdirSync(folder)
  .filter((file) => file.endsWith('.yaml'))
  .map((file) => readFileSync(new URL(file, folder), 'utf8'));

test('configurations of the corpus with clusters are read in pieces', () => {
  expect(corpus.filter((text) => agrees(input(text, 'yaml'))).length).toBeGreaterThan(40);
});

test.each(['yaml', 'json'] as const)(
  'edits of any kind never make a difference: %s',
  (format) => {
    const random = new SeededRandom(format === 'yaml' ? 11 : 12);
    const texts = [
      ...READABLE.map(([, text]) => text),
      ...corpus.filter((text) => text.length < 1000 && agrees(input(text, 'yaml'))),
    ].map((text) => {
      if (format === 'yaml') return text;
      const { tree } = parseYaml(new SourceFile('x', text));
      return JSON.stringify(plainJson(tree!), null, 1);
    });
    let read = 0;
    for (let round = 0; round < 1500; round++) {
      const text = editedText(texts[random.below(texts.length)]!, random);
      if (agrees(input(text, format))) read++;
    }
    expect(read).toBeGreaterThan(20);
  },
  30_000,
);

test('a small text is read as a whole, and so is what was rewritten', () => {
  const small = input(`${HEAD}  clusters:${LIST}`, 'yaml');
  expect(loadSplit(small, { api, desc }, PATH)).toBeNull();
  const rewrite = { suspects: () => true, rewrite: (tree: never) => tree };
  expect(loadSplit(small, { api, desc, rewrite }, PATH, 0)).toBeNull();
});

test('places are found when they are asked for', () => {
  const text = `${HEAD}  clusters:${LIST}`;
  const { positions } = loadSplit(input(text, 'yaml'), { api, desc }, PATH, 0)!;
  expect(positions.locate('static_resources.clusters[1].connect_timeout')).toMatchObject({ line: 15, column: 22 });
  expect(toJson(desc, inPieces(input(text, 'yaml'))!) as JsonObject).toHaveProperty('staticResources');
});
