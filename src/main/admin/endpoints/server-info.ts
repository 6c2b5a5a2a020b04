import type { Server } from '../../server.ts';
import { SERVER_STATE_NAMES } from '../../server-stats.ts';
import { HOT_RESTART_VERSION, VERSION_TEXT } from '../../version.ts';
import { type AdminResponse, json } from '../admin-request.ts';
import { nodeJson } from './node-identity.ts';

/** `/server_info`: envoy.admin.v3.ServerInfo with default values printed. */
export function serverInfo(server: Server): AdminResponse {
  const { flags } = server;
  const uptime = `${server.uptimeSeconds}s`;
  const info = {
    version: VERSION_TEXT,
    state: SERVER_STATE_NAMES[server.state],
    uptime_current_epoch: uptime,
    uptime_all_epochs: uptime,
    hot_restart_version: HOT_RESTART_VERSION,
    command_line_options: {
      base_id: String(flags.baseId),
      concurrency: flags.concurrency,
      config_path: flags.configPath,
      config_yaml: flags.configYaml,
      allow_unknown_static_fields: flags.allowUnknownStaticFields,
      admin_address_path: flags.adminAddressPath,
      local_address_ip_version: flags.localAddressIpVersion,
      log_level: flags.logLevel,
      component_log_level: flags.componentLogLevel,
      log_format: flags.logFormat,
      log_path: flags.logPath,
      service_cluster: flags.serviceCluster,
      service_node: flags.serviceNode,
      service_zone: flags.serviceZone,
      file_flush_interval: `${flags.fileFlushIntervalMs / 1000}s`,
      drain_time: `${flags.drainTimeS}s`,
      parent_shutdown_time: `${flags.parentShutdownTimeS}s`,
      mode: flags.mode === 'serve' ? 'Serve' : flags.mode === 'validate' ? 'Validate' : 'InitOnly',
      disable_hot_restart: flags.disableHotRestart,
      enable_mutex_tracing: flags.enableMutexTracing,
      restart_epoch: flags.restartEpoch,
      cpuset_threads: flags.cpusetThreads,
      reject_unknown_dynamic_fields: flags.rejectUnknownDynamicFields,
      log_format_escaped: flags.logFormatEscaped,
      disabled_extensions: flags.disabledExtensions,
      ignore_unknown_dynamic_fields: flags.ignoreUnknownDynamicFields,
      use_dynamic_base_id: flags.useDynamicBaseId,
      base_id_path: flags.baseIdPath,
      drain_strategy: flags.drainStrategy === 'gradual' ? 'Gradual' : 'Immediate',
      enable_fine_grain_logging: flags.enableFineGrainLogging,
      socket_path: flags.socketPath,
      socket_mode: flags.socketMode,
      enable_core_dump: flags.enableCoreDump,
      stats_tag: flags.statsTags,
      skip_hot_restart_on_no_parent: flags.skipHotRestartOnNoParent,
      skip_hot_restart_parent_stats: flags.skipHotRestartParentStats,
      skip_deprecated_logs: flags.skipDeprecatedLogs,
      file_flush_min_size: flags.fileFlushMinSizeKb,
      log_stacktrace_single_entry: flags.logStacktraceSingleEntry,
    },
    node: nodeJson(server, true),
    hot_restart_initializing: false,
  };
  return json(`${JSON.stringify(info, null, 1)}\n`);
}
