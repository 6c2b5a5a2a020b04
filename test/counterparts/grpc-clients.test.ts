/** `nuncio pilot` as the control plane of gRPC itself: clients of grpc-go and grpc-js, and a server of grpc-go that xDS manages. */
import { afterEach, describe } from 'bun:test';
import { join } from 'node:path';
import { counterparts } from '../../tools/counterparts.ts';
import { clientBehindPilot, endPeers, serverBehindPilot } from './grpc-peers.ts';

afterEach(endPeers);

describe('grpc-go behind nuncio pilot', () => clientBehindPilot(() => [counterparts().xdsPeer, 'client']));

describe('grpc-js behind nuncio pilot', () =>
  clientBehindPilot(() => ['node', join(import.meta.dir, 'grpc-js-client.mjs'), counterparts().node], true));

describe('a server of grpc-go behind nuncio pilot', () =>
  serverBehindPilot((port) => [counterparts().xdsPeer, 'server', 'managed', `127.0.0.1:${port}`]));
