import { ResetReason } from '../../http/codec.ts';
import { ResponseFlag } from '../response-flag.ts';

/** Envoy: Filter::streamResetReasonToResponseFlag. */
export function flagOfReset(reason: ResetReason): number {
  switch (reason) {
    case ResetReason.LocalConnectionFailure:
    case ResetReason.RemoteConnectionFailure:
    case ResetReason.ConnectionTimeout:
      return ResponseFlag.UpstreamConnectionFailure;
    case ResetReason.ConnectionTermination:
      return ResponseFlag.UpstreamConnectionTermination;
    case ResetReason.LocalReset:
    case ResetReason.LocalRefusedStreamReset:
    case ResetReason.Http1PrematureUpstreamHalfClose:
      return ResponseFlag.LocalReset;
    case ResetReason.Overflow:
      return ResponseFlag.UpstreamOverflow;
    case ResetReason.RemoteReset:
    case ResetReason.RemoteRefusedStreamReset:
    case ResetReason.ConnectError:
      return ResponseFlag.UpstreamRemoteReset;
    case ResetReason.ProtocolError:
      return ResponseFlag.UpstreamProtocolError;
    default:
      return ResponseFlag.OverloadManager;
  }
}
