/**
 * grpc-js as a client of a control plane: calls its target once for every line `header value` (or an empty one) and says what came as
 * one line of JSON, like `go/xds-peer`. Arguments: a folder with the packages, the target.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [folder, target] = process.argv.slice(2);
const require = createRequire(join(folder, 'package.json'));
const grpc = require('@grpc/grpc-js');
require('@grpc/grpc-js-xds').register();

/** `hostname`, field 6 of SimpleResponse, all that the answer holds. */
const hostname = (bytes) => (bytes.length > 2 && bytes[0] === 0x32 ? bytes.subarray(2, 2 + bytes[1]).toString() : '');

const UnaryCall = {
  path: '/grpc.testing.TestService/UnaryCall',
  requestStream: false,
  responseStream: false,
  requestSerialize: () => Buffer.alloc(0),
  responseDeserialize: hostname,
};
const Client = grpc.makeGenericClientConstructor({ UnaryCall }, 'TestService');
const client = new Client(target, grpc.credentials.createInsecure());

for await (const line of createInterface({ input: process.stdin })) {
  const metadata = new grpc.Metadata();
  const [name, value] = line.split(' ');
  if (value !== undefined) metadata.set(name, value);
  await new Promise((resolve) => {
    client.UnaryCall({}, metadata, { deadline: Date.now() + 5000 }, (error, host) => {
      const code = error === null ? 'OK' : grpc.status[error.code];
      console.log(JSON.stringify({ event: 'call', code, host: host ?? '', error: error?.details ?? '' }));
      resolve();
    });
  });
}
process.exit(0);
