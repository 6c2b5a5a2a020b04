import { readFileSync } from 'node:fs';
import type { DataSource } from '../../api/gen/envoy/config/core/v3/base_pb.d.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';

export const DATA_SOURCE_SUPPORT: readonly FieldSupport[] = [
  // A directory to watch for renewals stands beside the file only where sources are of secrets.
  {
    message: 'envoy.config.core.v3.DataSource',
    fields: 'filename inline_bytes inline_string environment_variable',
  },
];

/**
 * The text of a data source: UTF-8, whole. Files and environment variables are read once, now.
 * @returns null when it was refused at `field`
 */
export function readDataSource(context: BuildContext, field: string, source: DataSource): string | null {
  const { specifier } = source;
  switch (specifier.case) {
    case 'inlineString':
      return specifier.value;
    case 'inlineBytes':
      return Buffer.from(specifier.value).toString('utf8');
    case 'environmentVariable': {
      const text = process.env[specifier.value];
      if (text === undefined) context.refuse(field, `Environment variable doesn't exist: ${specifier.value}`);
      return text ?? null;
    }
    case 'filename':
      context.dependsOnOutside();
      try {
        return readFileSync(specifier.value, 'utf8');
      } catch (error) {
        context.refuse(field, `Invalid path: ${specifier.value}`, (error as Error).message);
        return null;
      }
    default:
      context.refuse(
        field,
        'the data source is empty',
        'set inline_string, inline_bytes, filename or environment_variable',
      );
      return null;
  }
}

/** What a credential's source holds; nothing where there is no source, no file, or nothing in it (Envoy: `allow_empty`). */
export interface CredentialBytes {
  readonly bytes: Buffer;
  /** The file's path, or `<inline>`; empty where there is nothing. For messages. */
  readonly origin: string;
  /** Why there is nothing, where the system says so; for hints. */
  readonly problem: string;
}

const NOTHING = Buffer.alloc(0);

/** Reads a part of a secret. An inline source that is empty is refused by the constraints of the message. */
export function readCredential(source: DataSource | undefined): CredentialBytes {
  const specifier = source?.specifier;
  switch (specifier?.case) {
    case 'inlineString':
      return inline(Buffer.from(specifier.value));
    case 'inlineBytes':
      return inline(Buffer.from(specifier.value.buffer, specifier.value.byteOffset, specifier.value.length));
    case 'environmentVariable': {
      const text = process.env[specifier.value] ?? '';
      const problem = text === '' ? `the environment variable ${specifier.value} is not set` : '';
      return { ...inline(Buffer.from(text)), problem };
    }
    case 'filename':
      try {
        return { bytes: readFileSync(specifier.value), origin: specifier.value, problem: '' };
      } catch (error) {
        return { bytes: NOTHING, origin: specifier.value, problem: (error as Error).message };
      }
    default:
      return { bytes: NOTHING, origin: '', problem: '' };
  }
}

function inline(bytes: Buffer): CredentialBytes {
  return { bytes, origin: bytes.length === 0 ? '' : '<inline>', problem: '' };
}

/** The path of a source that is a file; empty for others. */
export function fileOf(source: DataSource | undefined): string {
  return source?.specifier.case === 'filename' ? source.specifier.value : '';
}
