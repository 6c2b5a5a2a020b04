import { type DescMessage, fromBinary, type Message } from '@bufbuild/protobuf';
import type { Any } from '@bufbuild/protobuf/wkt';
import type { DiscoveryResponse } from '../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import type { Logger } from '../base/log.ts';
import { errorLine } from '../config/diagnostics/render.ts';
import { type ConfigInput, type LoadOptions, loadConfig } from '../config/load/load-config.ts';
import { loadSplit } from '../config/load/split-load.ts';
import type { ResourceDecoder } from './resource-decoder.ts';
import type { DiscoveredResource, Interest, ResourceOrigin, ResourceUpdate } from './resource-source.ts';

/** An answer that cannot be taken, and how it counts (Envoy tells apart what is no message at all). */
export class AnswerFault extends Error {
  readonly counts: 'failure' | 'rejected';

  constructor(message: string, counts: 'failure' | 'rejected') {
    super(message);
    this.counts = counts;
  }
}

/**
 * Reads a DiscoveryResponse that holds a state of the world, from a file or from an HTTP answer.
 * @param held names of the last one: what this one lacks is removed
 * @throws AnswerFault
 */
export function readTextAnswer(
  input: ConfigInput,
  { type, names }: Interest,
  held: ReadonlySet<string>,
  decoder: ResourceDecoder,
  logger: Logger,
): ResourceUpdate {
  const { api, unknownFields } = decoder;
  const options = { api, desc: api.message('envoy.service.discovery.v3.DiscoveryResponse')!, unknownFields };
  const interest = { type, names };
  const pieces = readPieces(input, options, interest, held, decoder);
  if (pieces !== null) return pieces;
  const loaded = loadConfig<DiscoveryResponse>([input], options);
  if (!loaded.ok) {
    const unknown = loaded.error.every((error) => /unknown field|has no field/i.test(error.reason));
    throw new AnswerFault(loaded.error.map(errorLine).join('\n'), unknown ? 'rejected' : 'failure');
  }
  const { message, positions, anys, warnings } = loaded.value;
  decoder.noteUnknownFields(warnings);
  for (const warning of warnings) logger.warning(errorLine(warning));
  const changed: DiscoveredResource[] = [];
  const faults: string[] = [];
  const isText = input.format !== 'pb';
  message.resources.forEach((any, index) => {
    const origin = { positions: isText ? positions : null, path: `resources[${index}]`, anys };
    const resource = decoder.decode(type, any, message.versionInfo, origin);
    if (resource.ok) changed.push(resource.value);
    else faults.push(resource.error);
  });
  if (faults.length > 0) throw new AnswerFault(faults.join('\n'), 'rejected');
  return updateOf(changed, interest, held, message.versionInfo);
}

function updateOf(
  changed: readonly DiscoveredResource[],
  { names }: Interest,
  held: ReadonlySet<string>,
  version: string,
): ResourceUpdate {
  const present = new Set(changed.map((resource) => resource.name));
  const removed = names === null ? [...held].filter((name) => !present.has(name)) : [];
  return { changed, removed, version };
}

/**
 * A large answer, resource by resource: what is kept of each is its encoding.
 * @returns null: there is something to complain about, which a reading of the whole tells
 */
function readPieces(
  input: ConfigInput,
  options: LoadOptions,
  interest: Interest,
  held: ReadonlySet<string>,
  decoder: ResourceDecoder,
): ResourceUpdate | null {
  const split = loadSplit<DiscoveryResponse>(input, options, ['resources']);
  if (split === null) return null;
  const { message, positions, anys } = split;
  const type = decoder.api.message(interest.type.typeName)!;
  const decoded = new LatestMessage(type);
  const changed: DiscoveredResource[] = [];
  for (const item of split.items()) {
    const path = `resources[${changed.length}]`;
    const read =
      item === null ? null : decoder.decode(interest.type, item as Any, message.versionInfo, { positions, path, anys });
    if (read === null || !read.ok) return null;
    const { name, version, bytes } = read.value;
    changed.push(new EncodedResource(name, version, bytes, { positions, path, anys: null }, decoded));
  }
  return updateOf(changed, interest, held, message.versionInfo);
}

/** Of many resources the message of the one that was asked last: watchers take one after the other. */
class LatestMessage {
  readonly #type: DescMessage;
  #bytes: Uint8Array | null = null;
  #message: Message | null = null;

  constructor(type: DescMessage) {
    this.#type = type;
  }

  of(bytes: Uint8Array): Message {
    if (this.#message === null || this.#bytes !== bytes) {
      this.#bytes = bytes;
      this.#message = fromBinary(this.#type, bytes);
    }
    return this.#message;
  }
}

/** A resource of an answer that holds very many: its message is there when it is asked for. */
class EncodedResource implements DiscoveredResource {
  readonly name: string;
  readonly version: string;
  readonly bytes: Uint8Array;
  readonly origin: ResourceOrigin;
  readonly #messages: LatestMessage;

  constructor(name: string, version: string, bytes: Uint8Array, origin: ResourceOrigin, messages: LatestMessage) {
    this.name = name;
    this.version = version;
    this.bytes = bytes;
    this.origin = origin;
    this.#messages = messages;
  }

  get message(): Message {
    return this.#messages.of(this.bytes);
  }
}
