import { expect, test } from 'bun:test';
import { findUnreadFields } from './unread-fields.ts';

test('every field that is called obeyed is read somewhere', () => expect(findUnreadFields()).toEqual([]), 60_000);
