import { describe, expect, test } from 'bun:test';
import { bodyOf, findRequest, findResponse, joinChunks, showBytes } from './wire-text.ts';

describe('findResponse', () => {
  const plain = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok';
  const chunked = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nt: 1\r\n\r\n';

  test('a response ends where its framing says, and not a byte before', () => {
    for (const whole of [plain, chunked]) {
      for (let cut = 0; cut < whole.length; cut++) expect(findResponse(whole.slice(0, cut), 0)).toBeNull();
      expect(findResponse(`${whole}HTTP/1.1 `, 0)?.end).toBe(whole.length);
    }
  });

  test('HEAD, 1xx, 204 and 304 have no body; without a length the body runs until the close', () => {
    expect(findResponse('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n', 0, { head: true })?.end).toBe(38);
    expect(findResponse('HTTP/1.1 204 No Content\r\n\r\n', 0)?.end).toBe(27);
    expect(findResponse('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1', 0)?.end).toBe(25);
    expect(findResponse('HTTP/1.0 200 OK\r\n\r\nabc', 0)).toBeNull();
    expect(findResponse('HTTP/1.0 200 OK\r\n\r\nabc', 0, { closed: true })?.end).toBe(22);
  });
});

test('a request without a length has no body', () => {
  expect(findRequest('GET / HTTP/1.1\r\n\r\nGET', 0)?.end).toBe(18);
  expect(findRequest('POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab', 0)).toBeNull();
});

test('bodies that differ in chunk sizes alone read the same', () => {
  const head = 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n';
  const one = `${head}4\r\nabcd\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n`;
  const two = `${head}1\r\na\r\n3\r\nbcd\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n`;
  expect(joinChunks(one)).toBe(joinChunks(two));
  expect(joinChunks(one)).not.toBe(joinChunks(two.replace('bcd', 'bce')));
  expect(joinChunks(`${head}4\r\nab`)).not.toBe(joinChunks(`${head}2\r\nab\r\n0\r\n\r\n`));
  expect(joinChunks(head)).toBe(head);
});

test('the body of a chunked message is read without its framing', () => {
  const head = 'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n';
  expect(bodyOf(`${head}3\r\nabc\r\n1;x\r\nd\r\n0\r\nt: v\r\n\r\n`, head.length)).toBe('abcd');
  expect(bodyOf('POST / HTTP/1.1\r\n\r\nab', 19)).toBe('ab');
});

test('control bytes are shown, CRLF is a new line', () => {
  expect(showBytes('a\r\nb\nc\x00\xff')).toBe('a\nb\\x0ac\\x00\\xff');
});
