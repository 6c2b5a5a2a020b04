import { describe, test } from 'bun:test';
import { tlsContract } from '../tls/tls.contract.ts';
import { TlsRuntime } from '../tls/tls-runtime.contract.ts';
import { transportContract } from '../transport.contract.ts';
import { BunRuntime } from './bun-runtime.ts';
import { BunTlsEngine } from './bun-tls-engine.ts';

describe('TLS over BunRuntime as a transport', () => {
  transportContract(test, (dispatcher) => new TlsRuntime(new BunRuntime(dispatcher), new BunTlsEngine(dispatcher)));
});

describe('TLS over BunRuntime', () => {
  tlsContract(test, (dispatcher) => ({ sockets: new BunRuntime(dispatcher), engine: new BunTlsEngine(dispatcher) }));
});
