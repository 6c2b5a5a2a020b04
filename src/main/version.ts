import { COMMIT } from '../base/version.ts';

export { COMMIT, ENVOY_VERSION, NUNCIO_VERSION, VERSION_TEXT } from '../base/version.ts';

/** `server.version`: the first three bytes of the commit's hash. */
export const VERSION_NUMBER = Number.parseInt(COMMIT.slice(0, 6), 16);
/** Hot restart is not offered; Envoy prints this word of its own builds without it. */
export const HOT_RESTART_VERSION = 'disabled';
