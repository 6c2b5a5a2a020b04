import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../../../base/random.ts';
import stories from './hpack-blocks.json';
import { type FieldTarget, HpackDecoder } from './hpack-decoder.ts';
import { FIELD_OVERHEAD, HpackEncoder, UPDATE_OVERHEAD } from './hpack-encoder.ts';
import { decodeHuffman, encodeHuffman, huffmanLength, maxDecodedLength } from './huffman.ts';
import { STATIC_IDS, STATIC_NAMES } from './static-table.ts';

class Fields implements FieldTarget {
  list: string[] = [];
  ids: number[] = [];
  flags: number[] = [];
  onField(name: string, value: string, id: number, flags: number): void {
    this.list.push(name, value);
    this.ids.push(id);
    this.flags.push(flags);
  }
}

function decode(decoder: HpackDecoder, hex: string): string[] | null {
  const fields = new Fields();
  const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  return decoder.decode(bytes, 0, bytes.length, fields) ? fields.list : null;
}

function encode(encoder: HpackEncoder, list: readonly string[]): string {
  let room = UPDATE_OVERHEAD;
  for (let i = 0; i < list.length; i += 2) room += list[i]!.length + list[i + 1]!.length + FIELD_OVERHEAD;
  const bytes = Buffer.alloc(room);
  let at = encoder.begin(bytes, 0);
  for (let i = 0; i < list.length; i += 2) at = encoder.field(bytes, at, list[i]!, list[i + 1]!);
  expect(at).toBeLessThanOrEqual(room);
  return bytes.subarray(0, at).toString('hex');
}

describe('Huffman code', () => {
  test('every byte, alone and in every company of lengths, comes back', () => {
    const random = new SeededRandom(1);
    for (let round = 0; round < 2000; round++) {
      let text = '';
      const size = round < 256 ? 1 : Math.floor(random.float() * 80);
      for (let i = 0; i < size; i++) {
        text += String.fromCharCode(round < 256 ? round : Math.floor(random.float() * (round % 2 === 0 ? 256 : 128)));
      }
      const bytes = Buffer.alloc(size * 4 + 8);
      const end = encodeHuffman(text, bytes, 0);
      expect(end).toBe(huffmanLength(text));
      const out = Buffer.alloc(maxDecodedLength(end));
      const count = decodeHuffman(bytes, 0, end, out);
      expect(out.latin1Slice(0, Math.max(count, 0))).toBe(text);
    }
  });

  test('wrong padding and the end-of-string symbol are refused', () => {
    const out = Buffer.alloc(64);
    const bad = (hex: string) => decodeHuffman(Buffer.from(hex, 'hex'), 0, hex.length / 2, out);
    expect(bad('ff')).toBe(-1); // eight bits of padding
    expect(bad('1f')).toBe(1); // 'a', then ones
    expect(bad('18')).toBe(-1); // padding of zeros
    expect(bad('1fff')).toBe(-1); // more than seven bits
    expect(bad('3fffffff')).toBe(-1); // EOS
    expect(bad('ffffffff')).toBe(-1);
    expect(bad('fffffffc')).toBe(-1);
  });
});

describe('decoder', () => {
  test("RFC 7541 appendix C.3: requests without Huffman code, one connection's table", () => {
    const decoder = new HpackDecoder(4096);
    const first = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com'];
    expect(decode(decoder, '828684410f7777772e6578616d706c652e636f6d')).toEqual(first);
    expect(decoder.size).toBe(57);
    expect(decode(decoder, '828684be58086e6f2d6361636865')).toEqual([...first, 'cache-control', 'no-cache']);
    expect(decoder.size).toBe(110);
    expect(decode(decoder, '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565')).toEqual([
      ':method',
      'GET',
      ':scheme',
      'https',
      ':path',
      '/index.html',
      ':authority',
      'www.example.com',
      'custom-key',
      'custom-value',
    ]);
    expect(decoder.size).toBe(164);
  });

  test('appendix C.4 and C.6: Huffman code, eviction', () => {
    const requests = new HpackDecoder(4096);
    expect(decode(requests, '828684418cf1e3c2e5f23a6ba0ab90f4ff')?.at(-1)).toBe('www.example.com');
    expect(decode(requests, '828684be5886a8eb10649cbf')?.at(-1)).toBe('no-cache');
    expect(decode(requests, '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf')?.at(-1)).toBe('custom-value');
    expect(requests.size).toBe(164);
    const responses = new HpackDecoder(256);
    const date = 'Mon, 21 Oct 2013 20:13:21 GMT';
    expect(
      decode(
        responses,
        '488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3',
      ),
    ).toEqual([':status', '302', 'cache-control', 'private', 'date', date, 'location', 'https://www.example.com']);
    expect(decode(responses, '4883640effc1c0bf')?.[1]).toBe('307');
    expect(
      decode(
        responses,
        '88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f' +
          '3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007',
      )?.at(-1),
    ).toBe('foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1');
    expect(responses.size).toBe(215);
  });

  test('what another implementation encoded', () => {
    for (const story of stories) {
      const decoder = new HpackDecoder(4096);
      for (const block of story.blocks) expect(decode(decoder, block.hex)).toEqual(block.fields);
    }
  });

  test('malformed blocks', () => {
    const bad = (hex: string) => decode(new HpackDecoder(4096), hex);
    expect(bad('80')).toBeNull(); // index 0
    expect(bad('be')).toBeNull(); // no such dynamic entry
    expect(bad('ff')).toBeNull(); // cut integer
    expect(bad('ffffffffff0f')).toBeNull(); // too large
    expect(bad('ff80808080808080808000')).toBeNull(); // zeros without end
    expect(bad('0003616263')).toBeNull(); // no value
    expect(bad('00036162')).toBeNull(); // cut name
    expect(bad('3fe21f')).toBeNull(); // 4097: more than announced
    expect(bad('8220')).toBeNull(); // update behind a field
    expect(bad('3fe11f20 82')).toEqual([':method', 'GET']);
  });

  test('a table made smaller has to be acknowledged by an update', () => {
    const decoder = new HpackDecoder(4096);
    expect(decode(decoder, '4001610162')).toEqual(['a', 'b']);
    decoder.setMaxTableSize(0);
    expect(decoder.size).toBe(0);
    expect(decode(decoder, '82')).toBeNull();
    const second = new HpackDecoder(4096);
    second.setMaxTableSize(100);
    expect(decode(second, '3f4582')).toEqual([':method', 'GET']);
  });

  test('names are recognised, and what is wrong with fields is flagged', () => {
    const fields = new Fields();
    const decoder = new HpackDecoder(4096);
    const literal = (name: string, value: string) =>
      Buffer.from(
        `\x40${String.fromCharCode(name.length)}${name}${String.fromCharCode(value.length)}${value}`,
        'latin1',
      );
    for (let round = 0; round < 2; round++) {
      for (const [name, value] of [
        ['content-type', 'a'],
        ['X', ''],
        ['a b', ''],
        ['a_b', ''],
        ['a', '\n'],
        ['', ''],
        [':path', '/'],
        [':x', ''],
      ] as const) {
        const bytes = literal(name, value);
        expect(decoder.decode(bytes, 0, bytes.length, fields)).toBe(true);
      }
    }
    expect(fields.flags.slice(0, 8)).toEqual([0, 1, 2, 8, 4, 2, 0, 0]);
    expect(fields.ids.slice(6, 8)).toEqual([1003, 1006]);
    // The same from the table.
    const again = new Fields();
    decoder.decode(Buffer.from([0xc5, 0xc4, 0xc3, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe]), 0, 8, again);
    expect(again.flags).toEqual([0, 1, 2, 8, 4, 2, 0, 0]);
    expect(STATIC_NAMES.indexOf('content-type')).toBe(31);
    expect(STATIC_IDS[31]).toBe(again.ids[0]!);
  });

  test('garbage neither throws nor grows the table', () => {
    const random = new SeededRandom(3);
    for (let round = 0; round < 3000; round++) {
      const decoder = new HpackDecoder(512);
      const base = stories[round % stories.length]!.blocks[round % 12]!.hex;
      const bytes = Buffer.from(base, 'hex');
      for (let i = 0; i < 1 + (round % 4); i++) {
        bytes[Math.floor(random.float() * bytes.length)] = random.uint32();
      }
      decoder.decode(bytes, 0, bytes.length, new Fields());
      expect(decoder.size).toBeLessThanOrEqual(512);
    }
  });
});

describe('encoder', () => {
  test('what it writes is read back, with any table size and through changes', () => {
    const random = new SeededRandom(11);
    for (const limit of [0, 100, 4096, 65_536]) {
      const encoder = new HpackEncoder(limit);
      const decoder = new HpackDecoder(65_536);
      let peerLimit = 4096;
      for (let round = 0; round < 300; round++) {
        const list: string[] = [
          ':method',
          'GET',
          ':path',
          `/${round % 7}`,
          ':status',
          ['200', '404', '599'][round % 3]!,
        ];
        const count = Math.floor(random.float() * 12);
        for (let i = 0; i < count; i++) {
          const kind = Math.floor(random.float() * 8);
          const value = String(Math.floor(random.float() * 30)).padStart(kind * 9, 'v\x80(');
          list.push(['date', 'x-a', `x-${i}`, 'authorization', 'cookie', 'x-request-id', 'server', 'te'][kind]!);
          list.push(kind === 7 ? 'trailers' : value);
        }
        if (round % 40 === 39) {
          peerLimit = [0, 64, 4096, 10_000][Math.floor(random.float() * 4)]!;
          encoder.setPeerLimit(peerLimit);
          if (round % 80 === 79) encoder.setPeerLimit(4096);
        }
        expect(decode(decoder, encode(encoder, list))).toEqual(list);
        expect(encoder.size).toBe(decoder.size);
        expect(encoder.size).toBeLessThanOrEqual(limit);
      }
    }
  });

  test('repeated fields become one byte each; secrets are never indexed', () => {
    const encoder = new HpackEncoder(4096);
    const list = [':method', 'GET', 'user-agent', 'x', 'x-custom', 'yes'];
    encode(encoder, list);
    expect(encode(encoder, list)).toBe('82bfbe');
    expect(encode(encoder, ['authorization', 'a'])).toBe('1f080161');
    expect(encode(encoder, ['cookie', 'a=b']).startsWith('1f11')).toBe(true);
    expect(encode(encoder, ['cookie', 'a=bbbbbbbbbbbbbbbbbbbbbbb']).startsWith('60')).toBe(true);
  });

  test('what belongs to an HTTP/1 connection is left out', () => {
    const encoder = new HpackEncoder(4096);
    expect(encode(encoder, ['connection', 'close', 'transfer-encoding', 'chunked', 'te', 'gzip'])).toBe('');
    expect(encode(encoder, ['te', 'trailers'])).not.toBe('');
  });
});
