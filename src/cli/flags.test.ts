import { describe, expect, test } from 'bun:test';
import type { ServerFlags } from '../main/server-flags.ts';
import { FlagError, parseFlags } from './flags.ts';

function flags(...args: string[]): ServerFlags {
  const command = parseFlags(args);
  if (command.kind !== 'run') throw new Error(`not a run: ${command.kind}`);
  return command.flags;
}

function complaint(...args: string[]): FlagError {
  try {
    parseFlags(args);
  } catch (error) {
    if (error instanceof FlagError) return error;
    throw error;
  }
  throw new Error(`accepted: ${args.join(' ')}`);
}

describe('parseFlags', () => {
  test('defaults are Envoy’s', () => {
    const found = flags('-c', 'a.yaml');
    expect(found).toMatchObject({
      configPath: 'a.yaml',
      mode: 'serve',
      logLevel: 'info',
      drainTimeS: 600,
      parentShutdownTimeS: 900,
      drainStrategy: 'gradual',
      fileFlushIntervalMs: 10_000,
      fileFlushMinSizeKb: 64,
      localAddressIpVersion: 'v4',
    });
    expect(found.concurrency).toBeGreaterThanOrEqual(1);
  });

  test('short and long names, separate and joined values', () => {
    expect(flags('-l', 'debug').logLevel).toBe('debug');
    expect(flags('--log-level', 'warn').logLevel).toBe('warning');
    expect(flags('--config-path=x.json').configPath).toBe('x.json');
    expect(flags('--concurrency', '0').concurrency).toBe(1);
    expect(flags('--concurrency', '3').concurrency).toBe(3);
    expect(flags('--socket-mode', '644').socketMode).toBe(0o644);
    expect(flags('--stats-tag', 'a:b', '--stats-tag', 'c:d:e').statsTags).toEqual(['a:b', 'c:d:e']);
    expect(flags('--allow-unknown-fields').allowUnknownStaticFields).toBe(true);
    expect(flags('--disable-extensions', 'envoy.filters.http/envoy.filters.http.buffer,x').disabledExtensions).toEqual([
      'envoy.filters.http.buffer',
      'x',
    ]);
  });

  test('what follows -- is left alone', () => {
    expect(flags('-c', 'a.yaml', '--', '--bogus').configPath).toBe('a.yaml');
    expect(flags('-c', 'a.yaml', '--ignore_rest', 'b').configPath).toBe('a.yaml');
  });

  test.each([
    [['--bogus'], '--bogus', "Couldn't find match for argument"],
    [['-x'], '-x', "Couldn't find match for argument"],
    [['extra'], 'extra', "Couldn't find match for argument"],
    [['-c'], '-c (--config-path)', 'Missing a value for this argument!'],
    [['--drain-time-s'], '(--drain-time-s)', 'Missing a value for this argument!'],
    [['-c', 'a', '--config-path', 'b'], '-c (--config-path)', 'Argument already set!'],
    [['--cpuset-threads', '--cpuset-threads'], '(--cpuset-threads)', 'Argument already set!'],
    [['--concurrency', 'abc'], '(--concurrency)', "Couldn't read argument value from string 'abc'"],
  ])('%p is a parse error', (args, argument, reason) => {
    const error = complaint(...args);
    expect(error.message).toBe(`PARSE ERROR: Argument: ${argument}\n             ${reason}`);
    expect(error.lastLine).toBe(`${argument} -- ${reason}`);
  });

  test.each([
    [['--mode', 'x'], "error: unknown mode 'x'"],
    [['-l', 'x'], "error: invalid log level specified 'x'"],
    [['--component-log-level', 'x:debug'], "error: invalid component specified 'x'"],
    [['--component-log-level', 'http:x'], "error: invalid log level specified 'x'"],
    [['--component-log-level', 'http'], "error: component log level not correctly specified 'http'"],
    [['--local-address-ip-version', 'v5'], "error: unknown IP address version 'v5'"],
    [['--drain-strategy', 'x'], "error: unknown drain-strategy 'x'"],
    [['--stats-tag', 'x'], "error: misformatted stats-tag 'x'"],
    [['--stats-tag', 'a b:c'], "error: misformatted stats-tag 'a b:c' contains invalid char in 'a b'"],
    [['--stats-tag', 'a:b.c'], "error: misformatted stats-tag 'a:b.c' contains invalid char in 'b.c'"],
    [
      ['--restart-epoch', '1', '--use-dynamic-base-id'],
      'error: cannot use --restart-epoch=1 with --use-dynamic-base-id',
    ],
  ])('%p is refused in Envoy’s words', (args, message) => {
    expect(complaint(...args).message).toBe(message);
    expect(complaint(...args).lastLine).toBe('');
  });

  test.each([
    [['--enable-core-dump'], '--enable-core-dump is not supported'],
    [['--enable-mutex-tracing'], '--enable-mutex-tracing is not supported'],
    [['--enable-fine-grain-logging'], '--enable-fine-grain-logging is not supported'],
    [['--restart-epoch', '1'], 'hot restart is not offered yet'],
    [['--concurrency', '-1'], 'must be between 0 and 4294967295'],
    [['--concurrency', '99999999'], '--concurrency must be at most'],
    [['--socket-mode', '9'], "invalid socket-mode '9'"],
  ])('%p is refused: it could not be honoured', (args, part) => {
    expect(complaint(...args).message).toContain(part);
  });

  test('hot-restart flags are accepted where they change nothing', () => {
    const found = flags('--restart-epoch', '2', '--disable-hot-restart', '--base-id', '7', '--socket-path', '@x');
    expect(found).toMatchObject({ restartEpoch: 2, disableHotRestart: true, baseId: 7, socketPath: '@x' });
  });
});
