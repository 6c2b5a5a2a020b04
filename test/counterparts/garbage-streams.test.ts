/** Control planes whose streams are no gRPC: the start goes on, and the first that speaks sense is heard. */
import { create, toBinary } from '@bufbuild/protobuf';
import { openApiRegistry } from '../../src/api/api-registry.ts';
import type { DiscoveryResponse } from '../../src/api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import { http } from '../differential/configs.ts';
import { listenerResource, says } from '../differential/discovery.ts';
import { steps, suite } from '../differential/harness.ts';
import {
  FrameType,
  frame,
  goAway,
  type Http2Peer,
  headersFrame,
  http2Upstream,
  rstStream,
  type SeenStream,
} from '../support/http2-peer.ts';
import { packResource } from '../support/scripted-control-plane.ts';
import type { UpstreamConnection, UpstreamScript } from '../support/scripted-upstream.ts';
import { CDS, followingBootstrap, LDS, noteDump, noteStats } from './resources.ts';

/** Streams that go wrong before one goes well. */
const BAD_STREAMS = 3;

const desc = openApiRegistry().message('envoy.service.discovery.v3.DiscoveryResponse')!;

/** A message with its prefix. */
function message(flag: number, bytes: Uint8Array, length = bytes.length): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flag);
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, bytes]);
}

function answer(typeUrl: string, resources: readonly object[]): Buffer {
  const response = create(desc) as DiscoveryResponse;
  Object.assign(response, {
    versionInfo: '1',
    typeUrl,
    nonce: 'n',
    resources: resources.map((each) => packResource(each as never)),
  });
  return message(0, toBinary(desc, response));
}

const listener = (): object =>
  JSON.parse(
    JSON.stringify(listenerResource({ routes: [says('sense')] })).replace(
      '"{{listen:a}}"',
      '{"socket_address":{"address":"127.0.0.1","port_value":0}}',
    ),
  );

type Garbage = (peer: Http2Peer, id: number, connection: UpstreamConnection) => void;

function server(garbage: Garbage): UpstreamScript {
  return http2Upstream({
    onHead: ({ id, number, stream }, peer, connection) => {
      if (number + connection.number - 1 <= BAD_STREAMS) garbage(peer, id, connection);
      else void speak(peer, stream);
      return true;
    },
  });
}

const open = (peer: Http2Peer, id: number, ...fields: readonly string[]): void =>
  peer.send(headersFrame(id, [':status: 200', 'content-type: application/grpc', ...fields], false));
const data = (peer: Http2Peer, id: number, bytes: Uint8Array, end = false): void =>
  peer.send(frame(FrameType.Data, end ? 1 : 0, id, bytes));
const word = Buffer.from('rubbish');

/** Answers what is asked for, when it is. */
async function speak(peer: Http2Peer, stream: SeenStream): Promise<void> {
  open(peer, stream.id);
  for (const [type, resources] of [
    [CDS, []],
    [LDS, [listener()]],
  ] as const) {
    await peer.until(() => stream.body.includes(type), 15_000);
    data(peer, stream.id, answer(type, resources));
  }
}

const kinds: Readonly<Record<string, Garbage>> = {
  'a page of HTML': (peer, id) => {
    peer.send(headersFrame(id, [':status: 200', 'content-type: text/html'], false));
    data(peer, id, Buffer.from('<html></html>'), true);
  },
  'status 404': (peer, id) => peer.send(headersFrame(id, [':status: 404'], true)),
  'status 503 and words': (peer, id) => {
    peer.send(headersFrame(id, [':status: 503', 'content-type: text/plain'], false));
    data(peer, id, word, true);
  },
  'an end without a status': (peer, id) => {
    open(peer, id);
    data(peer, id, Buffer.alloc(0), true);
  },
  'a status that is no number': (peer, id) =>
    peer.send(headersFrame(id, [':status: 200', 'content-type: application/grpc', 'grpc-status: oops'], true)),
  'a status beyond all statuses': (peer, id) =>
    peer.send(headersFrame(id, [':status: 200', 'content-type: application/grpc', 'grpc-status: 99'], true)),
  'a flag that is none': (peer, id) => {
    open(peer, id);
    data(peer, id, message(7, word));
  },
  'compression that was not agreed': (peer, id) => {
    open(peer, id, 'grpc-encoding: gzip');
    data(peer, id, message(1, word));
  },
  'a message that ends too soon': (peer, id) => {
    open(peer, id);
    data(peer, id, message(0, word, 100), true);
  },
  'a message that is no protobuf': (peer, id) => {
    open(peer, id);
    data(peer, id, message(0, word));
  },
  'a reset': (peer, id) => peer.send(rstStream(id, 2)),
  'a reset behind the head': (peer, id) => {
    open(peer, id);
    peer.send(rstStream(id, 8));
  },
  'a farewell': (peer) => peer.send(goAway(0, 0)),
  'a cut connection': (_peer, _id, connection) => connection.reset(),
};

for (const [name, garbage] of Object.entries(kinds)) {
  suite(
    `a stream that is none: ${name}`,
    { config: followingBootstrap('GRPC'), upstreams: { xds: server(garbage) }, fresh: true, upstreamBytes: false },
    [
      steps('sense at last', async (exchange) => {
        await exchange.expectStat('listener_manager.total_listeners_active', 1);
        await exchange.refreshListeners();
        await exchange.request(http('GET /'));
        await exchange.expectStat('control_plane.connected_state', 1);
        await noteDump(exchange);
        // How many streams there were is for the harness to say: it forgets connections as a case begins.
        await noteStats(exchange, /^(listener_manager\.lds|cluster_manager\.cds)\.update_rejected$/);
      }),
    ],
  );
}
