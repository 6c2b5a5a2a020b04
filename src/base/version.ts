/** Replaced by the build with the commit's hash. */
declare const NUNCIO_COMMIT: string | undefined;

/** Version of Envoy whose documented behaviour this is. */
export const ENVOY_VERSION = { major: 1, minor: 40, patch: 0 } as const;
export const NUNCIO_VERSION = '0.1.0';
export const COMMIT = typeof NUNCIO_COMMIT === 'string' ? NUNCIO_COMMIT : '0'.repeat(40);
const { major, minor, patch } = ENVOY_VERSION;
/** Envoy's form: commit, version, repository status, build type, TLS library. */
export const VERSION_TEXT = `${COMMIT}/${major}.${minor}.${patch}/Nuncio-${NUNCIO_VERSION}/RELEASE/BoringSSL`;
