/** The judge of the grid, on traffic that is known to be dangerous: a judge that never condemns proves nothing. */
import { describe, expect, test } from 'bun:test';
import { findHazards } from './grid.ts';
import { readRequests } from './reader.ts';

const head = (lines: string): string => `POST /p HTTP/1.1\r\nhost: h\r\n${lines}\r\n`;
const echo = (text: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${text.length}\r\n\r\n${text}`;
const carried = (sent: string, answered: string) => ({
  proxy: { received: sent },
  server: { received: answered, fate: 'open' as const },
  cut: true,
});

describe('the strict reader', () => {
  const faulty: [string, string][] = [
    ['both framings', `${head('content-length: 5\r\ntransfer-encoding: chunked\r\n')}0\r\n\r\n`],
    ['two lengths', `${head('content-length: 1\r\ncontent-length: 1\r\n')}a`],
    ['a signed length', `${head('content-length: +1\r\n')}a`],
    ['another coding', `${head('transfer-encoding: xchunked\r\n')}0\r\n\r\n`],
    ['a folded line', head('x: y\r\n z\r\n')],
    ['a space before the colon', head('x : y\r\n')],
    ['a bare LF', head('x: y\nz: w\r\n')],
    ['a NUL', head('x: y\0\r\n')],
    ['two hosts', head('host: i\r\n')],
    ['a bare LF behind a chunk size', `${head('transfer-encoding: chunked\r\n')}1\na\r\n0\r\n\r\n`],
    ['a chunk extension', `${head('transfer-encoding: chunked\r\n')}1;x\r\na\r\n0\r\n\r\n`],
    ['a chunk longer than its size', `${head('transfer-encoding: chunked\r\n')}1\r\nab\r\n0\r\n\r\n`],
    ['another version', 'GET / HTTP/1.0\r\nhost: h\r\n\r\n'],
    ['rubbish behind a request', `${head('content-length: 1\r\n')}a;;\r\n\r\n`],
  ];
  for (const [name, bytes] of faulty) {
    test(`condemns ${name}`, () => expect(readRequests(bytes).fault).not.toBeNull());
  }

  test('reads lengths, chunks and what is unfinished', () => {
    const bytes = `${head('content-length: 2\r\n')}ab${head('transfer-encoding: chunked\r\n')}3\r\nabc\r\n0\r\nt: v\r\n\r\n${head('content-length: 9\r\n')}abc`;
    const { requests, fault } = readRequests(bytes);
    expect(fault).toBeNull();
    expect(requests.map((request) => [request.bodyLength, request.complete])).toEqual([
      [2, true],
      [3, true],
      [3, false],
    ]);
  });
});

describe('the comparison with the server', () => {
  const one = `${head('content-length: 2\r\n')}ab`;

  test('is content where both agree', () => {
    expect(findHazards('node', carried(one + one, echo('POST /p 2') + echo('POST /p 2')))).toEqual([]);
  });
  test('finds a request too many', () => {
    expect(findHazards('node', carried(one, echo('POST /p 2') + echo('GET /smuggled 0'))).join()).toContain(
      'more requests',
    );
  });
  test('finds a request too few', () => {
    expect(findHazards('node', carried(one + one, echo('POST /p 2'))).join()).toContain('fewer requests');
  });
  test('finds a body of another length, another method, another target', () => {
    expect(findHazards('node', carried(one, echo('POST /p 3')))).toHaveLength(1);
    expect(findHazards('node', carried(one, echo('GET /p 2')))).toHaveLength(1);
    expect(findHazards('node', carried(one, echo('POST /q 2')))).toHaveLength(1);
  });
});
