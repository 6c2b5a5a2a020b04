import { describe, test } from 'node:test';
import { transportContract } from '../transport.contract.ts';
import { NodeRuntime } from './node-runtime.ts';

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
