/*
 * The import rule: one ordered list of folders (docs/architecture.md, "Folders"). A folder may import, types
 * included, itself and what its row names; there is no list of exceptions. Test files obey the same rows and
 * may use test/support besides.
 */
const rows = {
  base: [],
  api: [],
  stats: ['base'],
  net: ['base', 'stats'],
  http: ['base', 'stats'],
  routing: ['base', 'http'],
  upstream: ['base', 'stats', 'net', 'http'],
  grpc: ['base', 'stats', 'net', 'http', 'upstream'],
  pipeline: ['base', 'stats', 'net', 'http', 'routing', 'upstream'],
  config: ['base', 'api', 'stats', 'net', 'http', 'routing', 'upstream', 'grpc', 'pipeline'],
  extensions: ['base', 'api', 'stats', 'net', 'http', 'routing', 'upstream', 'grpc', 'pipeline', 'config'],
  xds: ['base', 'api', 'stats', 'http', 'grpc', 'config'],
  worker: ['base', 'api', 'stats', 'net', 'http', 'routing', 'upstream', 'grpc', 'pipeline', 'config', 'extensions'],
  main: [
    'base',
    'api',
    'stats',
    'net',
    'http',
    'routing',
    'upstream',
    'grpc',
    'pipeline',
    'config',
    'extensions',
    'xds',
    'worker',
  ],
  'control-plane': ['base', 'api', 'stats', 'net', 'http', 'grpc', 'config'],
  cli: ['main', 'control-plane', 'config'],
};
const folders = Object.keys(rows);
const TEST = '\\.test\\.ts$';

const layering = folders.map((folder) => ({
  name: `${folder}-imports-only-its-row`,
  comment: `src/${folder} may import: ${rows[folder].join(', ') || 'nothing'}`,
  severity: 'error',
  from: { path: `^src/${folder}/` },
  to: {
    path: '^(src|test|tools|bench|examples)/',
    pathNot: `^src/(${[folder, ...rows[folder]].join('|')})/|^test/support/`,
  },
}));

module.exports = {
  forbidden: [
    ...layering,
    {
      name: 'every-folder-has-a-row',
      comment: 'A new folder under src/ needs a row in the table first; only index.ts, the library entry, stands beside them.',
      severity: 'error',
      from: { path: '^src/', pathNot: `^src/(${folders.join('|')})/|^src/index\\.ts$` },
      to: {},
    },
    {
      name: 'no-sibling-extension',
      comment: 'An extension never imports another: what two share moves up to its owner.',
      severity: 'error',
      from: { path: '^src/extensions/([^/]+)/([^/]+)/' },
      to: { path: '^src/extensions/', pathNot: '^src/extensions/$1/$2/' },
    },
    {
      name: 'test-support-is-for-tests',
      severity: 'error',
      from: { path: '^src/', pathNot: TEST },
      to: { path: '^test/' },
    },
    {
      name: 'sockets-live-in-net',
      comment:
        'net/node alone uses node sockets and TLS; net/bun alone uses those of Bun (see tools/house-rules.ts), whose TLS contexts are made by node:tls.',
      severity: 'error',
      from: { path: '^src/', pathNot: `^src/net/node/|^src/net/bun/bun-secure-context\\.ts$|${TEST}` },
      to: { dependencyTypes: ['core'], path: '^(node:)?(tls|http|https|http2|dgram)$' },
    },
    {
      name: 'only-declared-packages',
      severity: 'error',
      from: { path: '^src/', pathNot: TEST },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown', 'npm-optional'] },
    },
    {
      name: 'resolves',
      severity: 'error',
      from: { path: '^src/' },
      to: { couldNotResolve: true, pathNot: '^bun(:|$)' },
    },
  ],
  options: {
    parser: 'swc',
    tsPreCompilationDeps: true,
    doNotFollow: { path: ['node_modules', '^src/api/gen/'] },
    enhancedResolveOptions: { extensions: ['.ts', '.d.ts', '.js'], exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] },
  },
};
