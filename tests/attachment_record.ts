import type { AttachmentRecord } from "../lib/state/attachment_record.ts";

/** The record of an attachment, with these members changed. */
export function attachmentRecord(changes: Partial<AttachmentRecord> = {}): AttachmentRecord {
  return {
    containerId: "c1",
    network: "web",
    ifName: "eth0",
    state: "attached",
    netns: "/run/netns/c1",
    netnsId: undefined,
    owner: "sandbox:c1",
    since: "2026-01-02T03:04:05.678Z",
    bootId: "b1",
    sequence: 1,
    attempts: 0,
    nextTry: undefined,
    error: undefined,
    config: '{"name": "web"}',
    cniArgs: [],
    capabilityArgs: {},
    result: undefined,
    ...changes,
  };
}
