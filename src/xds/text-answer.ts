import type { DiscoveryResponse } from '../api/gen/envoy/service/discovery/v3/discovery_pb.d.ts';
import type { Logger } from '../base/log.ts';
import { errorLine } from '../config/diagnostics/render.ts';
import { type ConfigInput, loadConfig } from '../config/load/load-config.ts';
import type { ResourceDecoder } from './resource-decoder.ts';
import type { DiscoveredResource, Interest, ResourceUpdate } from './resource-source.ts';

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
  const { unknownFields } = decoder;
  const loaded = loadConfig<DiscoveryResponse>([input], {
    api: decoder.api,
    desc: decoder.api.message('envoy.service.discovery.v3.DiscoveryResponse')!,
    unknownFields,
  });
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
  const present = new Set(changed.map((resource) => resource.name));
  const removed = names === null ? [...held].filter((name) => !present.has(name)) : [];
  return { changed, removed, version: message.versionInfo };
}
