/** Nuncio as a library: a proxy inside your own process. */
export {
  type ConfigError,
  ConfigRefused,
  createServer,
  EmbeddedServer,
  type LogLevel,
  type ServerSettings,
} from './main/embedded-server.ts';
