import { describe, expect, test } from 'bun:test';
import { SeededRandom } from '../base/random.ts';
import { HeaderMap, RequestHeaders, ResponseHeaders } from './header-map.ts';

function of(...list: string[]): HeaderMap {
  const map = new HeaderMap();
  for (let i = 0; i < list.length; i += 2) map.add(list[i]!, list[i + 1]!);
  return map;
}

describe('HeaderMap', () => {
  test('reads in wire order', () => {
    const map = of('a', '1', 'b', '2', 'a', '3');
    expect(map.size).toBe(3);
    expect(map.get('a')).toBe('1');
    expect(map.get('c')).toBeNull();
    expect(map.has('b')).toBe(true);
    expect(map.getAll('a')).toEqual(['1', '3']);
    expect(map.getJoined('a')).toBe('1,3');
    expect(map.getJoined('c')).toBeNull();
    expect(map.byteSize()).toBe(6);
  });

  test('a value that equals a name is not taken for one', () => {
    const map = of('a', 'b', 'b', 'a');
    map.remove('b');
    expect(map.list).toEqual(['a', 'b']);
    expect(map.get('b')).toBeNull();
  });

  test('set keeps the place of the first and drops the others', () => {
    const map = of('a', '1', 'b', '2', 'a', '3', 'c', '4', 'a', '5');
    map.set('a', 'x');
    expect(map.list).toEqual(['a', 'x', 'b', '2', 'c', '4']);
    map.set('d', 'new');
    expect(map.list.slice(-2)).toEqual(['d', 'new']);
  });

  test('append joins with the first entry', () => {
    const map = of('a', '1', 'e', '');
    map.append('a', '2');
    map.append('e', 'x');
    map.append('n', 'y');
    map.append('a', '3', ';');
    expect(map.list).toEqual(['a', '1,2;3', 'e', 'x', 'n', 'y']);
  });

  test('wire names follow their entries', () => {
    const map = of('a', '1', 'b', '2', 'a', '3', 'c', '4');
    map.wireNames = ['A', 'B', 'a', 'C'];
    map.remove('a');
    expect(map.wireNames).toEqual(['B', 'C']);
    map.add('d', '5');
    expect(map.wireNames).toEqual(['B', 'C', '']);
    map.removeWhere((name) => name === 'c');
    expect(map.wireNames).toEqual(['B', '']);
    const copy = map.clone();
    copy.remove('b');
    expect(map.wireNames).toEqual(['B', '']);
    expect(map.get('b')).toBe('2');
  });

  test('pseudo-headers are found by lookup and copied', () => {
    const request = new RequestHeaders();
    expect(request.lookup(':method')).toBeNull();
    expect(request.byteSize()).toBe(0);
    request.method = 'GET';
    request.scheme = 'https';
    request.authority = 'x.y';
    request.path = '/p';
    request.add('k', 'v');
    expect(request.lookup(':method')).toBe('GET');
    expect(request.lookupJoined('host')).toBe('x.y');
    expect(request.lookup(':authority')).toBe('x.y');
    expect(request.lookup('k')).toBe('v');
    expect(request.byteSize()).toBe(2 + 10 + 12 + 13 + 7);
    const copy = request.clone();
    copy.set('k', 'other');
    expect(copy.lookup(':path')).toBe('/p');
    expect(request.get('k')).toBe('v');
    const response = ResponseHeaders.of(404);
    expect(response.lookup(':status')).toBe('404');
    expect(response.clone().status).toBe(404);
    expect(new ResponseHeaders().lookup(':status')).toBeNull();
  });

  test('behaves as a plain list of pairs does (seeded)', () => {
    const random = new SeededRandom(7);
    const pick = (n: number) => random.below(n);
    const names = ['a', 'b', 'c', 'd'];
    for (let round = 0; round < 200; round++) {
      const map = new HeaderMap();
      map.wireNames = [];
      let model: [string, string][] = [];
      for (let step = 0; step < 30; step++) {
        const name = names[pick(4)]!;
        const value = String(pick(5));
        const at = model.findIndex(([key]) => key === name);
        switch (pick(5)) {
          case 0:
          case 1:
            map.add(name, value);
            model.push([name, value]);
            break;
          case 2:
            map.set(name, value);
            if (at < 0) model.push([name, value]);
            else
              model = model
                .map((pair, i) => (i === at ? [name, value] : pair) as [string, string])
                .filter(([key], i) => key !== name || i === at);
            break;
          case 3:
            expect(map.remove(name)).toBe(at >= 0);
            model = model.filter(([key]) => key !== name);
            break;
          default:
            map.removeWhere((_key, v) => v === value);
            model = model.filter(([, v]) => v !== value);
        }
        expect(map.list).toEqual(model.flat());
        expect(map.wireNames!).toEqual(model.map(() => ''));
      }
    }
  });
});
