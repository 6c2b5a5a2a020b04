import { LOG_LEVELS, type LogLevel } from '../../../base/log.ts';
import type { Server } from '../../server.ts';
import {
  type AdminEndpoint,
  type AdminRequest,
  type AdminResponse,
  choice,
  command,
  option,
  text,
} from '../admin-request.ts';

const USAGE = `usage: /logging?<name>=<level> (change single level)
usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)
usage: /logging?level=<level> (change all levels)
usage: /logging?group=<group_name>:<level> (change group of loggers)
levels: ${LOG_LEVELS.join(' ')} 
`;

/** `/logging`: shows and changes levels, in all threads. */
export function loggingEndpoint(server: Server): AdminEndpoint {
  const handle = (request: AdminRequest): AdminResponse => {
    const problem = change(server, [...request.query]);
    return problem === null
      ? text(activeLoggers(server))
      : text(`error: ${problem}\n\n${USAGE}${activeLoggers(server)}`, 400);
  };
  return command(
    '/logging',
    'query/change logging levels',
    [
      option(
        'paths',
        'Change multiple logging levels by setting to <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>. If fine grain logging is enabled, use __FILE__ or a glob experision as the logger name. For example, source/common*:warning',
      ),
      option(
        'group',
        'Change given logger group to desired level, set to <logger_group_name>:<desired_level>. logger_group_name must be a logger name.',
      ),
      choice('level', "desired logging level, this will change all loggers's level", ['', ...LOG_LEVELS]),
    ],
    handle,
  );
}

function activeLoggers(server: Server): string {
  let out = 'active loggers:\n';
  for (const logger of server.parts.loggers.all()) out += `  ${logger.name}: ${logger.level}\n`;
  return `${out}\n`;
}

/** @returns what is wrong, or null */
function change(server: Server, parameters: readonly (readonly [string, string])[]): string | null {
  const given = parameters.filter(([name, value]) => value !== '' || !['level', 'paths', 'group'].includes(name));
  const first = given[0];
  if (first === undefined) return null;
  if (given.length > 1) return 'invalid number of parameters';
  const [name, value] = first;
  if (name === 'group') return 'group parameter requires fine-grain logging to be enabled';
  const { loggers } = server.parts;
  if (name === 'level') {
    if (!isLevel(value)) return 'unknown logger level';
    server.setLogLevels([...loggers.all()].map((logger) => [logger.name, value]));
    return null;
  }
  const pairs = name === 'paths' ? value.split(',').map((pair) => pair.split(':')) : [[name, value]];
  const levels: [string, LogLevel][] = [];
  for (const [logger, level] of pairs) {
    if (logger === undefined || logger === '' || level === undefined || level === '') {
      return 'empty logger name or empty logger level';
    }
    if (!isLevel(level)) return 'unknown logger level';
    if (!loggers.has(logger)) return 'unknown logger name';
    levels.push([logger, level]);
  }
  server.setLogLevels(levels);
  return null;
}

function isLevel(text: string): text is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(text);
}
