import { describe, test } from 'bun:test';
import { transportContract } from '../transport.contract.ts';
import { NodeRuntime } from './node-runtime.ts';

describe('NodeRuntime on Bun', () => {
  transportContract(test, (dispatcher) => new NodeRuntime(dispatcher), {
    resetUnseenWhilePaused: true,
    bindErrorNotLocal: true,
    listenErrorsAlike: true,
  });
});
