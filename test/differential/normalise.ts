/** Rewrites what may differ between two runs of the same proxy, so that all other differences are real. */

/** Names for the ports of one side, and the folder that it wrote to. */
export interface Surroundings {
  readonly ports: ReadonlyMap<number, string>;
  readonly tmp: string;
}

/** One more rewriting, for a scenario where something else is unpredictable. */
export type Rewrite = readonly [pattern: RegExp, replacement: string];

const rewrites: readonly Rewrite[] = [
  [/^(date: ).*$/gim, '$1<date>'],
  [/^(last-modified: ).*$/gim, '$1<date>'],
  [/^(x-envoy-upstream-service-time: )\d+$/gim, '$1<ms>'],
  [/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g, '<uuid>'],
  [/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\b/g, '<time>'],
];

/** Normalises one text of one side. */
export function normalise(text: string, surroundings: Surroundings, more: readonly Rewrite[] = []): string {
  let out = text.replaceAll(surroundings.tmp, '<tmp>');
  for (const [pattern, replacement] of more) out = out.replace(pattern, replacement);
  for (const [pattern, replacement] of rewrites) out = out.replace(pattern, replacement);
  const named = (found: string, before: string, port: string): string => {
    const name = surroundings.ports.get(Number(port));
    return name === undefined ? found : `${before}<${name}>`;
  };
  out = out.replace(/^(x-forwarded-port: |\w*_PORT = )(\d+)$/gm, named);
  return out.replace(/(127\.0\.0\.\d+|\[::1\]|localhost):(\d+)/g, (_, host: string, port: string) => {
    const number = Number(port);
    const name = surroundings.ports.get(number) ?? (number < 1024 ? port : 'ephemeral');
    return `${host}:<${name}>`;
  });
}
