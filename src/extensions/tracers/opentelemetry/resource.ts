import { VERSION_TEXT } from '../../../base/version.ts';

/** Who reports, as attributes: text is Unicode here. */
export type ResourceAttributes = ReadonlyMap<string, string>;

export interface ResourceSettings {
  readonly serviceName: string;
  readonly withServiceName: boolean;
  readonly withSdk: boolean;
  /** What each detector found, in their order: a later one goes before an earlier one. */
  readonly detected: readonly ResourceAttributes[];
}

/** Source: Envoy, ResourceProviderImpl. */
export function resourceOf(settings: ResourceSettings): ResourceAttributes {
  const all = new Map<string, string>();
  if (settings.withServiceName) {
    all.set('service.name', settings.serviceName === '' ? 'unknown_service:envoy' : settings.serviceName);
  }
  if (settings.withSdk) {
    all.set('telemetry.sdk.language', 'nodejs');
    all.set('telemetry.sdk.name', 'envoy');
    all.set('telemetry.sdk.version', VERSION_TEXT);
  }
  for (const found of settings.detected) {
    for (const [name, value] of found) if (value !== '') all.set(name, value);
  }
  return all;
}

/** `OTEL_RESOURCE_ATTRIBUTES`: `name=value,name=value`; what is not of this form is left out. */
export function environmentAttributes(text: string): ResourceAttributes {
  const found = new Map<string, string>();
  for (const pair of text.split(',')) {
    const parts = pair.split('=');
    if (parts.length === 2) found.set(parts[0]!, parts[1]!);
  }
  return found;
}
