import { describe, test } from 'bun:test';
import { transportContract } from '../transport.contract.ts';
import { BunRuntime } from './bun-runtime.ts';

describe('BunRuntime', () => {
  transportContract(test, (dispatcher) => new BunRuntime(dispatcher));
});

describe('BunRuntime without the system calls', () => {
  transportContract(test, (dispatcher) => new BunRuntime(dispatcher, true), { bindErrorNotLocal: true });
});
