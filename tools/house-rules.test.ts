import { describe, expect, test } from 'bun:test';
import { findBreaches } from './house-rules.ts';

function rulesBroken(path: string, text: string): string[] {
  return findBreaches(path, text).map((breach) => `${breach.line} ${breach.rule.slice(0, 16)}`);
}

describe('house rules', () => {
  test('a clean file breaks none', () => {
    expect(rulesBroken('src/base/byte-buffer.ts', 'export const a = 1;\nconst b = await import("./c.ts");\n')).toEqual(
      [],
    );
  });

  test('a default export, a type expression import and a socket are found where they stand', () => {
    const text = `export const a = 1;\nexport default a;\ntype T = ${'import'}('../net/x.ts').T;\nBun.listen({});\n`;
    expect(rulesBroken('src/base/a.ts', text)).toEqual([
      '2 no default expor',
      '3 write `import ty',
      '4 sockets of Bun l',
    ]);
    expect(rulesBroken('src/net/bun/a.ts', 'Bun.listen({});')).toEqual([]);
  });

  test('node:net gives isIP everywhere, and sockets in net/node alone', () => {
    expect(rulesBroken('src/config/a.ts', "import { isIP, isIPv6 } from 'node:net';")).toEqual([]);
    expect(rulesBroken('src/config/a.ts', "import { isIP, connect } from 'node:net';")).toEqual(['1 sockets of Node ']);
    expect(rulesBroken('src/net/node/a.ts', "import { connect } from 'node:net';")).toEqual([]);
  });

  test('what Node 20 lacks is found in the library', () => {
    expect(rulesBroken('src/worker/a.ts', 'const a = Promise.withResolvers();')).toEqual(['1 Node 20, where t']);
    expect(rulesBroken('src/worker/a.ts', 'for (const a of map.values().filter(Boolean)) b(a);')).toHaveLength(1);
    expect(rulesBroken('test/a.ts', 'const a = Promise.withResolvers();')).toEqual([]);
  });

  test('vague and camel-case names are found', () => {
    expect(rulesBroken('src/http/common/a.ts', '')).toEqual(['1 no folder or fil']);
    expect(rulesBroken('src/http/header-utils.ts', '')).toEqual(['1 no folder or fil']);
    expect(rulesBroken('src/http/headerMap.ts', '')).toEqual(['1 file names are k']);
    expect(rulesBroken('src/http/commonwealth.ts', '')).toEqual([]);
  });
});
