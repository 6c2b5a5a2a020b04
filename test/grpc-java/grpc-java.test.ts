/** `nuncio pilot` as the control plane of grpc-java: a client, and a server that xDS manages. */
import { afterEach, describe } from 'bun:test';
import { grpcJavaPeer } from '../../tools/grpc-java.ts';
import { clientBehindPilot, endPeers, serverBehindPilot } from '../counterparts/grpc-peers.ts';

afterEach(endPeers);

describe('grpc-java behind nuncio pilot', () => clientBehindPilot(() => [...grpcJavaPeer(), 'client']));

describe('a server of grpc-java behind nuncio pilot', () =>
  serverBehindPilot((port) => [...grpcJavaPeer(), 'server', 'managed', String(port)], '0.0.0.0'));
