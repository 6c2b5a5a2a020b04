// Run by bun-runtime.test.ts under a low descriptor limit: an echo server that tells what it accepts.
import { SystemClock } from '../../../base/clock.ts';
import { SystemRandom } from '../../../base/random.ts';
import { ipAddress } from '../../address.ts';
import { Dispatcher } from '../../dispatcher.ts';
import { BunRuntime } from '../bun-runtime.ts';

const dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
const runtime = new BunRuntime(dispatcher);
let refused = 0;
const listener = runtime.listen(
  {
    address: ipAddress('127.0.0.1', 0),
    reusePort: false,
    backlog: 0,
    ipv6Only: true,
    transparent: false,
    freebind: false,
    socketOptions: [],
  },
  {
    onAccept(transport) {
      transport.setHandler({
        onOpen() {},
        onBytes(bytes) {
          transport.write(bytes, 0, bytes.length);
        },
        onDrain() {},
        onPeerEnd() {
          transport.close();
        },
        onClosed() {},
      });
    },
    onOutOfDescriptors() {
      refused++;
    },
  },
);
console.log(listener.address.text);
process.stdin.on('data', () => {
  const { user, system } = process.cpuUsage();
  console.log(JSON.stringify({ refused, cpuMs: (user + system) / 1000 }));
});
