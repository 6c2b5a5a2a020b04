import { describe, test } from 'node:test';
import { tlsContract } from '../tls/tls.contract.ts';
import { TlsRuntime } from '../tls/tls-runtime.contract.ts';
import { transportContract } from '../transport.contract.ts';
import { NodeRuntime } from './node-runtime.ts';
import { NodeTlsEngine } from './node-tls-engine.ts';

// Run by Node's own test runner, after bundling: `bun tools/test-node.ts`.
describe('NodeRuntime on Node', () => {
  transportContract(
    (name, body) => {
      test(name, body);
    },
    (dispatcher) => new NodeRuntime(dispatcher),
    { resetUnseenWhilePaused: true },
  );
});

describe('TLS over NodeRuntime as a transport, on Node', () => {
  transportContract(
    (name, body) => {
      test(name, body);
    },
    (dispatcher) => new TlsRuntime(new NodeRuntime(dispatcher), new NodeTlsEngine(dispatcher)),
    { resetUnseenWhilePaused: true, resetIsEnd: true },
  );
});

describe('TLS over NodeRuntime on Node', () => {
  tlsContract(
    (name, body) => {
      test(name, body);
    },
    (dispatcher) => ({ sockets: new NodeRuntime(dispatcher), engine: new NodeTlsEngine(dispatcher) }),
    { otherWords: true, noBrokenHandshakes: true },
  );
});
