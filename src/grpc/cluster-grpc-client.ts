import type { Dispatcher } from '../net/dispatcher.ts';
import { ClusterGrpcCall } from './cluster-grpc-call.ts';
import type { GrpcCall, GrpcCallHandler, GrpcCallOptions, GrpcClient } from './grpc-client.ts';
import type { ClusterLookup, GrpcClientSettings } from './grpc-client-settings.ts';

export { type ClusterLookup, type GrpcClientSettings, grpcClientSettings } from './grpc-client-settings.ts';

const NO_OPTIONS: GrpcCallOptions = {};

/** Calls over the HTTP pools of one cluster. Source: Envoy, Grpc::AsyncClientImpl. */
export class ClusterGrpcClient implements GrpcClient {
  readonly clusters: ClusterLookup;
  readonly dispatcher: Dispatcher;
  readonly settings: GrpcClientSettings;

  constructor(clusters: ClusterLookup, dispatcher: Dispatcher, settings: GrpcClientSettings) {
    this.clusters = clusters;
    this.dispatcher = dispatcher;
    this.settings = settings;
  }

  open(method: string, handler: GrpcCallHandler, options: GrpcCallOptions = NO_OPTIONS): GrpcCall {
    return new ClusterGrpcCall(this.clusters, this.dispatcher, this.settings, method, handler, options);
  }
}
