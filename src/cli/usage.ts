import { FLAGS, type FlagSpec } from './flags.ts';

function argument(flag: FlagSpec): string {
  if (flag.kind === 'flag') return '';
  return flag.kind === 'number' ? ' <uint32_t>' : ' <string>';
}

function forms(flag: FlagSpec): string {
  const value = argument(flag);
  const long = `--${flag.name}${value}`;
  return flag.short === undefined ? long : `-${flag.short}${value},  ${long}`;
}

function wrap(text: string, indent: string): string {
  let out = '';
  let line = indent;
  for (const word of text.split(' ')) {
    if (line.length + word.length > 75 && line !== indent) {
      out += `${line.trimEnd()}\n`;
      line = indent;
    }
    line += `${word} `;
  }
  return `${out}${line.trimEnd()}\n`;
}

/** The one-paragraph form that follows a parse error. */
export function briefUsage(program: string): string {
  const parts = FLAGS.map(
    (flag) => `[${flag.short === undefined ? `--${flag.name}` : `-${flag.short}`}${argument(flag)}]`,
  );
  return `Brief USAGE: \n   ${program} config check|upgrade <file>\n   ${program}\n${wrap(parts.join(' '), '        ')}\nFor complete USAGE and HELP type: \n   ${program} --help\n`;
}

/** `--help`. */
export function fullUsage(program: string): string {
  let out = `
USAGE: 

   ${program} [flags]
   ${program} config check <file>      say whether a configuration is valid, for people
   ${program} config upgrade <file>    print a version 2 configuration as version 3
   ${program} status|reload            ask a running proxy what waits, or to take its file again
   ${program} pilot --help             a control plane for Envoy and Nuncio
   ${program} quickstart --help        a control plane and a proxy, from one directory


Where: 

`;
  for (const flag of FLAGS) {
    out += `   ${forms(flag)}${flag.kind === 'list' ? '  (accepted multiple times)' : ''}\n${wrap(flag.help, '     ')}\n`;
  }
  return `${out}   --,  --ignore_rest\n     Ignores the rest of the labeled arguments following this flag.\n\n   Envoy, in TypeScript\n`;
}
