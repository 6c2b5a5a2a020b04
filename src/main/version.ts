/** Replaced by the build with the commit's hash. */
declare const NUNCIO_COMMIT: string | undefined;

/** Version of Envoy whose documented behaviour this is. */
export const ENVOY_VERSION = { major: 1, minor: 40, patch: 0 } as const;
export const NUNCIO_VERSION = '0.1.0';
export const COMMIT = typeof NUNCIO_COMMIT === 'string' ? NUNCIO_COMMIT : '0'.repeat(40);
const { major, minor, patch } = ENVOY_VERSION;
/** Envoy's form: commit, version, repository status, build type, TLS library. */
export const VERSION_TEXT = `${COMMIT}/${major}.${minor}.${patch}/Nuncio-${NUNCIO_VERSION}/RELEASE/BoringSSL`;
/** `server.version`: the first three bytes of the commit's hash. */
export const VERSION_NUMBER = Number.parseInt(COMMIT.slice(0, 6), 16);
/** Hot restart is not offered; Envoy prints this word of its own builds without it. */
export const HOT_RESTART_VERSION = 'disabled';
