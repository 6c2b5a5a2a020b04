import { beforeEach, describe, expect, test } from 'bun:test';
import { FakeLoop, FakeTransport } from '../../test/support/fake-transport.ts';
import { ByteBuffer } from '../base/byte-buffer.ts';
import { CloseType, Connection, ConnectionEvent } from './connection.ts';
import { FilterStatus, NetworkFilter } from './filter.ts';

/** Takes everything and notes it. What it does besides is up to the test. */
class Recorder extends NetworkFilter {
  readonly log: string[] = [];
  take = true;
  status: FilterStatus = FilterStatus.Continue;
  newStatus: FilterStatus = FilterStatus.Continue;
  react: ((text: string, end: boolean) => void) | null = null;

  override onNewConnection(): FilterStatus {
    this.log.push('new');
    return this.newStatus;
  }

  override onRead(data: ByteBuffer, end: boolean): FilterStatus {
    const text = data.latin1();
    if (this.take) data.clear();
    this.log.push(end ? `${text}$` : text);
    this.react?.(text, end);
    return this.status;
  }

  override onClose(): void {
    this.log.push('closed');
  }
}

class Events {
  readonly log: string[] = [];
  react: ((event: ConnectionEvent) => void) | null = null;

  onConnectionEvent(event: ConnectionEvent): void {
    this.log.push(['connected', 'remote', 'local'][event]!);
    this.react?.(event);
  }
  onAboveWriteHighWatermark(): void {
    this.log.push('above');
  }
  onBelowWriteLowWatermark(): void {
    this.log.push('below');
  }
}

let loop: FakeLoop;
let transport: FakeTransport;
let filter: Recorder;
let events: Events;
let connection: Connection;

function build(open = true, ...filters: NetworkFilter[]): void {
  transport = new FakeTransport(loop);
  connection = new Connection(loop.dispatcher, transport, open);
  transport.setHandler(connection);
  events = new Events();
  connection.addEvents(events);
  filter = new Recorder();
  for (const each of filters) connection.addFilter(each);
  connection.addFilter(filter);
}

function write(text: string, end = false): void {
  connection.write(ByteBuffer.from(Buffer.from(text, 'latin1')), end);
}

beforeEach(() => {
  loop = new FakeLoop();
  build();
});

describe('reading', () => {
  test('filters hear of the connection, then of bytes; what they leave is offered again', () => {
    loop.turn(() => connection.startFilters());
    filter.take = false;
    transport.receive('ab');
    filter.take = true;
    transport.receive('cd');
    expect(filter.log).toEqual(['new', 'ab', 'abcd']);
    expect(connection.bytesReceived).toBe(4);
  });

  test('bytes that come before startFilters still begin with onNewConnection', () => {
    transport.receive('x');
    expect(filter.log).toEqual(['new', 'x']);
  });

  test('a filter that stops holds the ones behind it until it continues', () => {
    const gate = new Recorder();
    gate.take = false;
    gate.status = FilterStatus.Stop;
    build(true, gate);
    loop.turn(() => connection.startFilters());
    transport.receive('abc');
    expect(filter.log).toEqual(['new']);
    loop.turn(() => gate.callbacks.continueReading());
    expect(filter.log).toEqual(['new', 'abc']);
  });

  test('a filter that stops at onNewConnection keeps the next ones from starting', () => {
    const gate = new Recorder();
    gate.newStatus = FilterStatus.Stop;
    build(true, gate);
    loop.turn(() => connection.startFilters());
    expect(filter.log).toEqual([]);
    loop.turn(() => gate.callbacks.continueReading());
    expect(filter.log).toEqual(['new']);
  });

  test('continueReading inside onRead runs the next filters at once', () => {
    const gate = new Recorder();
    gate.take = false;
    gate.status = FilterStatus.Stop;
    gate.react = () => gate.callbacks.continueReading();
    build(true, gate);
    transport.receive('abc');
    expect(filter.log).toEqual(['new', 'abc']);
  });

  test('pauses are counted; the last resume delivers what came meanwhile, at the end of the turn', () => {
    loop.turn(() => {
      connection.pauseReads();
      connection.pauseReads();
    });
    expect(transport.paused).toBe(true);
    transport.receive('late'); // what the runtime had already read
    loop.turn(() => connection.resumeReads());
    expect(transport.paused).toBe(true);
    expect(filter.log).toEqual([]);
    loop.turn(() => {
      connection.resumeReads();
      expect(filter.log).toEqual([]);
    });
    expect(filter.log).toEqual(['new', 'late']);
    expect(transport.paused).toBe(false);
    expect(() => connection.resumeReads()).toThrow();
  });

  test('resume and pause within one turn delivers nothing', () => {
    connection.pauseReads();
    transport.receive('x');
    loop.turn(() => {
      connection.resumeReads();
      connection.pauseReads();
    });
    expect(filter.log).toEqual([]);
    expect(transport.paused).toBe(true);
  });

  test('reading stops above the buffer limit and goes on below half of it', () => {
    connection.setBufferLimit(10);
    filter.take = false;
    transport.receive('x'.repeat(11));
    expect(transport.paused).toBe(true);
    loop.turn(() => connection.readBuffer.drain(5));
    expect(transport.paused).toBe(true);
    loop.turn(() => connection.readBuffer.drain(1));
    expect(transport.paused).toBe(false);
  });

  test('a large chunk that the filter takes at once pauses nothing', () => {
    connection.setBufferLimit(10);
    let pauses = 0;
    transport.pause = () => {
      pauses++;
    };
    transport.receive('x'.repeat(1000));
    expect(pauses).toBe(0);
  });
});

describe('writing', () => {
  test('writes of one turn go out in one system call at its end', () => {
    loop.turn(() => {
      write('a');
      write('b');
      connection.output.appendLatin1('c');
      connection.written();
      expect(transport.sent).toBe('');
    });
    expect(transport.sent).toBe('abc');
    expect(transport.writes).toBe(1);
    expect(connection.bytesSent).toBe(3);
  });

  test('a write outside of any turn is flushed by a microtask', async () => {
    write('x');
    expect(transport.sent).toBe('');
    await Promise.resolve();
    expect(transport.sent).toBe('x');
  });

  test('large slices are not copied together', () => {
    loop.turn(() => {
      connection.output.append(Buffer.alloc(20_000, 'a'));
      connection.output.append(Buffer.alloc(20_000, 'b'));
      connection.written();
    });
    expect(transport.sent.length).toBe(40_000);
    expect(transport.writes).toBe(2);
  });

  test('what the kernel does not take waits for its drain', () => {
    transport.room = 3;
    loop.turn(() => write('abcdef'));
    loop.turn(() => write('g'));
    expect(transport.sent).toBe('abc');
    expect(transport.writes).toBe(1);
    transport.drain(2);
    expect(transport.sent).toBe('abcde');
    transport.drain();
    expect(transport.sent).toBe('abcdefg');
  });

  test('any split of any stream arrives whole and in order', () => {
    for (let room = 1; room <= 40; room++) {
      build();
      const text = Array.from({ length: 300 }, (_, i) => String.fromCharCode(65 + (i % 26))).join('');
      transport.room = room;
      loop.turn(() => {
        for (let at = 0; at < text.length; at += 7) write(text.slice(at, at + 7));
      });
      while (transport.sent.length < text.length) transport.drain(room);
      expect(transport.sent).toBe(text);
    }
  });

  test('write filters run last to first and may change or hold the bytes', () => {
    class Upper extends NetworkFilter {
      override onWrite(data: ByteBuffer): FilterStatus {
        const text = data.latin1();
        data.clear();
        data.append(Buffer.from(`<${text}>`));
        return FilterStatus.Continue;
      }
    }
    class Hold extends NetworkFilter {
      status: FilterStatus = FilterStatus.Continue;
      override onWrite(data: ByteBuffer): FilterStatus {
        data.append(Buffer.from('!'));
        return this.status;
      }
    }
    const hold = new Hold();
    build(true, new Upper(), hold);
    loop.turn(() => write('x'));
    expect(transport.sent).toBe('<x!>');
    hold.status = FilterStatus.Stop;
    loop.turn(() => write('y'));
    expect(transport.sent).toBe('<x!>');
  });

  test('watermarks of the output reach every observer, in turn', () => {
    connection.setBufferLimit(10);
    transport.room = 0;
    loop.turn(() => write('x'.repeat(11)));
    expect(events.log).toEqual(['above']);
    transport.drain(5);
    expect(events.log).toEqual(['above']);
    transport.drain(1);
    expect(events.log).toEqual(['above', 'below']);
  });

  test('writes to a closed or closing connection are dropped', () => {
    loop.turn(() => connection.close(CloseType.NoFlush));
    loop.turn(() => write('x'));
    connection.output.appendLatin1('y');
    loop.turn(() => connection.written());
    expect(transport.sent).toBe('');
    expect(connection.output.length).toBe(0);
  });

  test('nothing is written before an outgoing connection is open', () => {
    build(false);
    loop.turn(() => write('early'));
    expect(transport.sent).toBe('');
    expect(connection.isConnecting).toBe(true);
    transport.open();
    expect(events.log).toEqual(['connected']);
    expect(transport.sent).toBe('early');
  });
});

describe('peer ends, without half-close', () => {
  test('FIN closes, with what is unsent dropped', () => {
    transport.room = 1;
    loop.turn(() => write('abc'));
    transport.peerEnds();
    expect(events.log).toEqual(['remote']);
    expect(transport.end).toBe('closed');
    expect(connection.output.length).toBe(0);
    expect(filter.log.at(-1)).toBe('closed');
    transport.closes();
    expect(events.log).toEqual(['remote']);
  });

  test('FIN while paused closes at once', () => {
    connection.pauseReads();
    transport.receive('unread');
    transport.peerEnds();
    expect(events.log).toEqual(['remote']);
    expect(filter.log).toEqual(['closed']);
  });

  test('resumed bytes are delivered before a FIN of the same turn', () => {
    connection.pauseReads();
    transport.receive('first');
    loop.turn(() => {
      connection.resumeReads();
      transport.handler!.onPeerEnd();
    });
    expect(filter.log).toEqual(['new', 'first', 'closed']);
    expect(events.log).toEqual(['remote']);
  });

  test('the hint that a paused peer has gone closes', () => {
    connection.pauseReads();
    loop.turn(() => connection.onEarlyClose());
    expect(events.log).toEqual(['remote']);
    build();
    connection.enableHalfClose(true);
    loop.turn(() => connection.onEarlyClose());
    expect(events.log).toEqual([]);
  });

  test('RST', () => {
    transport.receive('data');
    transport.closes('ECONNRESET');
    expect(events.log).toEqual(['remote']);
    expect(connection.detectedRemoteReset).toBe(true);
    expect(connection.closeError).toBe('ECONNRESET');
    expect(filter.log).toEqual(['new', 'data', 'closed']);
  });

  test('RST while paused closes at once', () => {
    connection.pauseReads();
    transport.receive('unread');
    transport.closes('ECONNRESET');
    expect(events.log).toEqual(['remote']);
    expect(connection.isClosed).toBe(true);
  });

  test('a failed connect ends with its reason', () => {
    build(false);
    transport.closes('ECONNREFUSED', 'delayed connect error: Connection refused');
    expect(events.log).toEqual(['remote']);
    expect(connection.transportFailureReason).toBe('delayed connect error: Connection refused');
    expect(connection.detectedRemoteReset).toBe(false);
  });
});

describe('half-close', () => {
  beforeEach(() => connection.enableHalfClose(true));

  test('FIN and end of the transport while paused wait for delivery', () => {
    connection.pauseReads();
    transport.receive('unread');
    transport.peerEnds();
    transport.closes();
    expect(events.log).toEqual([]);
    loop.turn(() => connection.resumeReads());
    expect(filter.log).toEqual(['new', 'unread$', 'closed']);
    expect(events.log).toEqual(['remote']);
  });

  test('the peer ends first', () => {
    transport.receive('question');
    transport.peerEnds();
    expect(filter.log).toEqual(['new', 'question', '$']);
    expect(connection.isOpen).toBe(true);
    loop.turn(() => write('answer', true));
    expect(transport.sent).toBe('answer');
    expect(transport.endedWrites).toBe(true);
    expect(events.log).toEqual(['local']);
    expect(transport.end).toBe('closed');
  });

  test('we end first', () => {
    loop.turn(() => write('bye', true));
    expect(transport.endedWrites).toBe(true);
    transport.receive('more');
    transport.peerEnds();
    expect(filter.log).toEqual(['new', 'more', '$', 'closed']);
    expect(events.log).toEqual(['remote']);
  });

  test('FIN goes out only behind the last byte', () => {
    transport.room = 1;
    loop.turn(() => write('ab', true));
    expect(transport.endedWrites).toBe(false);
    transport.drain();
    expect(transport.endedWrites).toBe(true);
    loop.turn(() => write('ignored'));
    expect(transport.sent).toBe('ab');
  });

  test('an end without bytes sends FIN', () => {
    loop.turn(() => write('', true));
    expect(transport.endedWrites).toBe(true);
  });

  test('an end requested while connecting is sent after the connect', () => {
    build(false);
    connection.enableHalfClose(true);
    loop.turn(() => write('', true));
    transport.open();
    expect(transport.endedWrites).toBe(true);
  });

  test('end is delivered once, and after a pause', () => {
    connection.pauseReads();
    transport.receive('x');
    transport.peerEnds();
    expect(filter.log).toEqual([]);
    loop.turn(() => connection.resumeReads());
    expect(filter.log).toEqual(['new', 'x$']);
    connection.pauseReads();
    loop.turn(() => connection.resumeReads());
    expect(filter.log).toEqual(['new', 'x$']);
  });

  test('a paused reader still gets everything when the transport is already gone', () => {
    loop.turn(() => write('bye', true));
    connection.pauseReads();
    transport.receive('tail');
    transport.peerEnds();
    transport.closes();
    expect(events.log).toEqual([]);
    loop.turn(() => connection.resumeReads());
    expect(filter.log).toEqual(['new', 'tail$', 'closed']);
    expect(events.log).toEqual(['remote']);
  });

  test('a filter that stops sees the end pass when it continues', () => {
    const gate = new Recorder();
    gate.take = false;
    gate.status = FilterStatus.Stop;
    build(true, gate);
    connection.enableHalfClose(true);
    transport.receive('x');
    transport.peerEnds();
    expect(filter.log).toEqual([]);
    loop.turn(() => gate.callbacks.continueReading());
    expect(filter.log).toEqual(['new', 'x$']);
  });

  test('a flush that is closing goes on after the FIN', () => {
    transport.room = 1;
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWrite);
    });
    transport.peerEnds();
    expect(events.log).toEqual([]);
    transport.drain();
    expect(transport.sent).toBe('abc');
    expect(events.log).toEqual(['local']);
  });
});

describe('close', () => {
  test('NoFlush closes at once, sending what the kernel takes now', () => {
    transport.room = 2;
    loop.turn(() => {
      write('abcd');
      connection.close(CloseType.NoFlush, 'because');
    });
    expect(transport.sent).toBe('ab');
    expect(transport.end).toBe('closed');
    expect(events.log).toEqual(['local']);
    expect(connection.localCloseReason).toBe('because');
  });

  test('Abort resets', () => {
    loop.turn(() => {
      write('abcd');
      connection.close(CloseType.Abort);
    });
    expect(transport.sent).toBe('');
    expect(transport.end).toBe('reset');
    expect(events.log).toEqual(['local']);
  });

  test('FlushWrite waits for the last byte and no longer', () => {
    transport.room = 1;
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWrite);
      expect(connection.isOpen).toBe(false);
    });
    expect(events.log).toEqual([]);
    transport.drain();
    expect(transport.sent).toBe('abc');
    expect(transport.end).toBe('closed');
    expect(events.log).toEqual(['local']);
  });

  test('FlushWrite with nothing to flush closes at once', () => {
    loop.turn(() => {
      connection.close(CloseType.FlushWrite);
      expect(connection.isClosed).toBe(true);
    });
  });

  test('what a codec appends after the close is still flushed', () => {
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWrite);
      connection.output.appendLatin1('def');
      connection.written();
    });
    expect(transport.sent).toBe('abcdef');
    expect(events.log).toEqual(['local']);
  });

  test('while closing, bytes are read and dropped, even when reads were paused', () => {
    connection.pauseReads();
    transport.room = 0;
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWrite);
    });
    expect(transport.paused).toBe(false);
    transport.receive('ignored');
    expect(filter.log).toEqual([]);
    expect(connection.readBuffer.length).toBe(0);
    loop.turn(() => connection.resumeReads());
    connection.pauseReads();
    expect(transport.paused).toBe(false);
  });

  test('FlushWriteAndDelay waits for the peer after the flush', () => {
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWriteAndDelay, '', 1000);
    });
    expect(transport.sent).toBe('abc');
    expect(events.log).toEqual([]);
    transport.receive('ignored');
    transport.peerEnds();
    expect(events.log).toEqual(['remote']);
    expect(transport.end).toBe('closed');
  });

  test('a close within the last flush leaves no timer behind', () => {
    build();
    connection.setBufferLimit(10);
    transport.room = 0;
    loop.turn(() => {
      connection.write(ByteBuffer.from('x'.repeat(100)), false);
      connection.close(CloseType.FlushWriteAndDelay, '', 1000);
    });
    expect(loop.dispatcher.timers.linkedCount).toBe(1);
    events.onBelowWriteLowWatermark = () => connection.close(CloseType.Abort);
    transport.drain();
    expect(transport.end).toBe('reset');
    expect(loop.dispatcher.timers.linkedCount).toBe(0);
  });

  test('FlushWriteAndDelay closes by itself when the peer does not', () => {
    let timeouts = 0;
    connection.onDelayedCloseTimeout = () => timeouts++;
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWriteAndDelay, '', 1000);
    });
    loop.advance(999);
    expect(events.log).toEqual([]);
    loop.advance(1);
    expect(events.log).toEqual(['local']);
    expect(timeouts).toBe(1);
  });

  test('progress of the flush restarts the timer, a stalled flush is cut off', () => {
    transport.room = 1;
    loop.turn(() => {
      write('abcdef');
      connection.close(CloseType.FlushWriteAndDelay, '', 1000);
    });
    for (let i = 0; i < 3; i++) {
      loop.advance(900);
      transport.drain(1);
    }
    expect(events.log).toEqual([]);
    loop.advance(500);
    // A drain that takes nothing is no progress.
    transport.drain(0);
    loop.advance(499);
    expect(events.log).toEqual([]);
    loop.advance(1);
    expect(events.log).toEqual(['local']);
    expect(transport.sent).toBe('abcd');
  });

  test('a delay that ends before the first flush flushes: a machine that stalls loses no answer', () => {
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWriteAndDelay, '', 1000);
      loop.advance(1000);
    });
    expect(transport.sent).toBe('abc');
    expect(events.log).toEqual([]);
    loop.advance(1000);
    expect(events.log).toEqual(['local']);
    build();
    transport.room = 0;
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWriteAndDelay, '', 1000);
      loop.advance(1000);
    });
    expect(events.log).toEqual(['local']);
  });

  test('a delay that ends before a flush that closes is no timeout', () => {
    let timeouts = 0;
    connection.onDelayedCloseTimeout = () => timeouts++;
    connection.enableHalfClose(true);
    transport.peerEnds();
    loop.turn(() => {
      connection.close(CloseType.FlushWriteAndDelay, '', 1000);
      loop.advance(1000);
    });
    expect(events.log).toContain('local');
    expect(timeouts).toBe(0);
  });

  test('a delay of zero is a plain flush', () => {
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWriteAndDelay, '', 0);
    });
    expect(events.log).toEqual(['local']);
  });

  test('a second close can drop the delay, or everything', () => {
    loop.turn(() => connection.close(CloseType.FlushWriteAndDelay, 'first', 1000));
    expect(connection.isClosed).toBe(false);
    loop.turn(() => connection.close(CloseType.FlushWrite, 'second'));
    expect(events.log).toEqual(['local']);
    expect(connection.localCloseReason).toBe('second');
    build();
    transport.room = 0;
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWriteAndDelay, '', 1000);
      connection.close(CloseType.NoFlush);
    });
    expect(events.log).toEqual(['local']);
    loop.advance(5000);
    expect(events.log).toEqual(['local']);
  });

  test('without half-close a FIN cuts a flush short, as does a RST', () => {
    transport.room = 0;
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWrite);
    });
    transport.peerEnds();
    expect(events.log).toEqual(['remote']);
    build();
    transport.room = 0;
    loop.turn(() => {
      write('abc');
      connection.close(CloseType.FlushWrite);
    });
    transport.closes('ECONNRESET');
    expect(events.log).toEqual(['remote']);
  });

  test('closing while connecting', () => {
    build(false);
    loop.turn(() => {
      write('x');
      connection.close(CloseType.FlushWrite);
    });
    expect(events.log).toEqual(['local']);
    expect(transport.end).toBe('closed');
    transport.open();
    expect(events.log).toEqual(['local']);
  });

  test('the transport vanishes under a write', () => {
    transport.gone = true;
    loop.turn(() => write('x'));
    expect(events.log).toEqual([]);
    transport.closes('EPIPE');
    expect(events.log).toEqual(['remote']);
    expect(connection.output.length).toBe(0);
  });
});

describe('re-entrancy', () => {
  test('a filter closes inside onRead: the ones behind it see nothing', () => {
    const first = new Recorder();
    first.take = false;
    first.react = () => connection.close(CloseType.NoFlush);
    build(true, first);
    loop.turn(() => connection.startFilters());
    transport.receive('x');
    expect(first.log).toEqual(['new', 'x', 'closed']);
    expect(filter.log).toEqual(['new', 'closed']);
    transport.receive('y');
    expect(first.log).toEqual(['new', 'x', 'closed']);
  });

  test('a filter closes inside onNewConnection', () => {
    const first = new Recorder();
    build(true, first);
    first.onNewConnection = () => {
      connection.close(CloseType.NoFlush);
      return FilterStatus.Continue;
    };
    loop.turn(() => connection.startFilters());
    expect(filter.log).toEqual(['closed']);
  });

  test('a filter answers and closes inside onRead: the answer goes out', () => {
    filter.react = (text) => {
      write(text.toUpperCase());
      connection.close(CloseType.FlushWrite);
    };
    transport.receive('abc');
    expect(transport.sent).toBe('ABC');
    expect(events.log).toEqual(['local']);
  });

  test('a filter pauses reads inside onRead and what it left waits', () => {
    filter.take = false;
    filter.react = () => {
      filter.react = null;
      filter.take = true;
      connection.pauseReads();
    };
    transport.receive('abc');
    transport.receive('def');
    expect(filter.log).toEqual(['new', 'abc']);
    loop.turn(() => connection.resumeReads());
    expect(filter.log).toEqual(['new', 'abc', 'abcdef']);
  });

  test('an observer closes inside the connected event', () => {
    build(false);
    events.react = (event) => {
      if (event === ConnectionEvent.Connected) connection.close(CloseType.NoFlush);
    };
    loop.turn(() => write('x'));
    transport.open();
    expect(events.log).toEqual(['connected', 'local']);
  });

  test('an observer closes inside a watermark', () => {
    connection.setBufferLimit(2);
    events.onAboveWriteHighWatermark = () => connection.close(CloseType.Abort);
    loop.turn(() => write('abcd'));
    expect(events.log).toEqual(['local']);
    expect(connection.output.length).toBe(0);
  });

  test('an observer that goes away hears nothing more, the others do', () => {
    const other = new Events();
    connection.addEvents(other);
    connection.removeEvents(events);
    transport.peerEnds();
    expect(events.log).toEqual([]);
    expect(other.log).toEqual(['remote']);
  });

  test('closing again from the close event is harmless', () => {
    events.react = () => connection.close(CloseType.FlushWrite);
    transport.peerEnds();
    expect(events.log).toEqual(['remote']);
  });
});

describe('bugs of ours', () => {
  test('a throwing filter costs its own connection, and is reported', () => {
    const bugs: unknown[] = [];
    loop.dispatcher.onBug = (error) => bugs.push(error);
    filter.react = () => {
      throw new Error('oops');
    };
    transport.receive('x');
    expect(String(bugs[0])).toContain('oops');
    expect(events.log).toEqual(['local']);
    expect(transport.end).toBe('closed');
    expect(filter.log.at(-1)).toBe('closed');
  });

  test('a throwing filter closes even where the report rethrows, and the loop stays usable', () => {
    filter.react = () => {
      throw new Error('oops');
    };
    expect(() => transport.receive('x')).toThrow('oops');
    expect(connection.isClosed).toBe(true);
    build();
    loop.turn(() => write('still works'));
    expect(transport.sent).toBe('still works');
  });

  test('one throwing observer does not hide the close from the others', () => {
    const bugs: unknown[] = [];
    loop.dispatcher.onBug = (error) => bugs.push(error);
    events.react = () => {
      throw new Error('first');
    };
    filter.onClose = () => {
      throw new Error('second');
    };
    const other = new Events();
    connection.addEvents(other);
    transport.peerEnds();
    expect(other.log).toEqual(['remote']);
    expect(bugs.length).toBe(2);
  });
});

describe('a transport that ended while reads were paused', () => {
  for (const type of [CloseType.FlushWrite, CloseType.FlushWriteAndDelay]) {
    test(`a close with a flush (${type}) out of the late delivery does not wait for it`, () => {
      connection.enableHalfClose(true);
      connection.pauseReads();
      transport.receive('late');
      transport.closes();
      expect(connection.isClosed).toBe(false);
      filter.react = () => {
        write('an answer');
        connection.close(type, '', type === CloseType.FlushWrite ? 0 : 1000);
      };
      loop.turn(() => connection.resumeReads());
      expect(filter.log).toEqual(['new', 'late', 'closed']);
      expect(connection.isClosed).toBe(true);
      expect(events.log).toEqual(['local']);
    });
  }
});

describe('bugs of ours outside of reading', () => {
  const bugs: unknown[] = [];
  const throws = () => {
    throw new Error('oops');
  };

  beforeEach(() => {
    bugs.length = 0;
    loop.dispatcher.onBug = (error) => bugs.push(error);
  });

  test('a watermark observer that throws while the kernel takes bytes ends the connection', () => {
    connection.setBufferLimit(4);
    transport.room = 0;
    loop.turn(() => write('0123456789'));
    events.onBelowWriteLowWatermark = throws;
    transport.drain();
    expect(bugs.length).toBe(1);
    expect(connection.isClosed).toBe(true);
    expect(transport.end).toBe('closed');
  });

  test('and at the end of a turn', () => {
    connection.setBufferLimit(4);
    events.onBelowWriteLowWatermark = throws;
    loop.turn(() => write('0123456789'));
    expect(bugs.length).toBe(1);
    expect(connection.isClosed).toBe(true);
    expect(transport.end).toBe('closed');
  });

  test('a delayed close ends although counting it throws', () => {
    transport.room = 0;
    connection.onDelayedCloseTimeout = throws;
    loop.turn(() => {
      write('x');
      connection.close(CloseType.FlushWriteAndDelay, '', 10);
    });
    loop.advance(11);
    expect(bugs.length).toBe(1);
    expect(connection.isClosed).toBe(true);
    expect(transport.end).toBe('closed');
  });
});

describe('stats', () => {
  test('buffer gauges return to zero, totals count every byte', () => {
    const seen = { received: 0, sent: 0, read: 0, written: 0 };
    connection.setStats({
      onBytesReceived: (n) => {
        seen.received += n;
      },
      onBytesSent: (n) => {
        seen.sent += n;
      },
      onReadBufferedChange: (n) => {
        seen.read += n;
      },
      onWriteBufferedChange: (n) => {
        seen.written += n;
      },
    });
    filter.take = false;
    transport.room = 2;
    transport.receive('abcd');
    loop.turn(() => write('efghi'));
    expect(seen).toEqual({ received: 4, sent: 2, read: 4, written: 3 });
    transport.closes('ECONNRESET');
    expect(seen).toEqual({ received: 4, sent: 2, read: 0, written: 0 });
  });
});
