// The house of the design as data: which files there are, and who may import whom. `floors_test.ts` compares the code.

/** One folder of the house. */
export interface Floor {
  /** Its files, lowest first: a file imports only files before it. */
  readonly files: readonly string[];
  /** The floors that its files may import. */
  readonly sees: readonly string[];
}

const GROUND = ["lib/spec", "lib/host"];
const UP_TO_NETWORK = [...GROUND, "lib/plugin", "lib/network"];
const UP_TO_SANDBOX = [...UP_TO_NETWORK, "lib/pod", "lib/sandbox"];

/** Every folder with code of the library and the program, lowest first. */
export const HOUSE: Readonly<Record<string, Floor>> = {
  "lib/spec": {
    files: [
      "error.ts",
      "version.ts",
      "name.ts",
      "address.ts",
      "json_reader.ts",
      "json.ts",
      "libcni_text.ts",
      "config_document.ts",
      "reserved_keys.ts",
      "plugin_config.ts",
      "config.ts",
      "result_shape.ts",
      "result_convert.ts",
      "result.ts",
    ],
    sees: [],
  },
  "lib/host": {
    files: [
      "clock.ts",
      "io.ts",
      "capture.ts",
      "launch.ts",
      "command.ts",
      "attached.ts",
      "boot.ts",
      "orphans.ts",
      "tree.ts",
      "file.ts",
      "lock.ts",
      "netns.ts",
      "link.ts",
      "log.ts",
      "permissions.ts",
    ],
    sees: [],
  },
  "lib/plugin": {
    files: [
      "invocation.ts",
      "deadline.ts",
      "failure.ts",
      "signals.ts",
      "output.ts",
      "serve.ts",
      "find.ts",
      "exec.ts",
      "single_flight.ts",
      "slots.ts",
      "versions.ts",
      "run_plugin.ts",
    ],
    sees: GROUND,
  },
  "lib/network": {
    files: [
      "load.ts",
      "container_lock.ts",
      "backoff.ts",
      "sealed.ts",
      "result_cache.ts",
      "record.ts",
      "chain.ts",
      "spoken_version.ts",
      "recorded.ts",
      "host_port.ts",
      "host_ports.ts",
      "failed_index.ts",
      "attachment_filter.ts",
      "upkeep.ts",
      "usable.ts",
      "status.ts",
      "note.ts",
      "removal.ts",
      "network.ts",
      "gc_plan.ts",
      "gc.ts",
    ],
    sees: [...GROUND, "lib/plugin"],
  },
  "lib/builtin": {
    files: [
      "all.ts",
      "undo.ts",
      "field.ts",
      "attachment_tag.ts",
      "ip_script.ts",
      "shown_link.ts",
      "valid_attachments.ts",
      "address_range.ts",
      "address_store.ts",
      "resolv_conf.ts",
      "host_local_config.ts",
      "host_local.ts",
      "masquerade_iptables.ts",
      "masquerade_nft.ts",
      "masquerade.ts",
      "bridge_config.ts",
      "bridge_plan.ts",
      "bridge_port.ts",
      "bridge_check.ts",
      "bridge_removal.ts",
      "bridge.ts",
      "loopback.ts",
      "mod.ts",
    ],
    sees: [...GROUND, "lib/plugin"],
  },
  "lib/pod": {
    files: [
      "embedded.ts",
      "catalog.ts",
      "catalog_source.ts",
      "pod_request.ts",
      "interface_names.ts",
      "setting_rules.ts",
      "capability_args.ts",
      "standing.ts",
      "status_subject.ts",
      "readiness_memory.ts",
      "status_check.ts",
      "questions.ts",
      "watched_subject.ts",
      "readiness.ts",
      "request.ts",
      "loopback.ts",
      "pod.ts",
      "pod_result.ts",
    ],
    sees: UP_TO_NETWORK,
  },
  "lib/sandbox": {
    files: [
      "name.ts",
      "record.ts",
      "parts.ts",
      "view.ts",
      "find.ts",
      "infra.ts",
      "request.ts",
      "dismantle.ts",
      "making.ts",
      "recovery.ts",
      "sandbox.ts",
    ],
    sees: [...UP_TO_NETWORK, "lib/pod"],
  },
  "lib": {
    files: ["runtime_options.ts", "wiring.ts", "runtime.ts"],
    sees: [...UP_TO_SANDBOX, "lib/builtin"],
  },
  "lib/daemon": { files: [], sees: [...UP_TO_SANDBOX, "lib"] },
  "lib/cli": {
    files: [
      "command.ts",
      "settings.ts",
      "table.ts",
      "failure.ts",
      "version.ts",
      "picture.ts",
      "traffic.ts",
      "sandbox_text.ts",
      "container_id.ts",
      "time_text.ts",
      "attachment.ts",
      "status.ts",
      "gc.ts",
      "network.ts",
      "plugin.ts",
      "recover.ts",
      "flag_value.ts",
      "network_flag.ts",
      "run.ts",
      "sandbox.ts",
      "demo.ts",
      "completion.ts",
      "network_help.ts",
      "commands.ts",
      "main.ts",
    ],
    sees: [...UP_TO_SANDBOX, "lib", "lib/builtin", "lib/daemon"],
  },
  ".": {
    files: ["mod.ts", "cli.ts"],
    sees: [...UP_TO_SANDBOX, "lib", "lib/builtin", "lib/daemon", "lib/cli"],
  },
};

/** Who may import what from outside. What is missing here may be imported by nobody. */
export const OUTSIDE: Readonly<Record<string, readonly string[]>> = {
  "@std/fs": ["lib/host/file.ts"],
  "@std/log": ["lib/host/log.ts"],
  "@std/path": [
    "lib/host/",
    "lib/plugin/",
    "lib/network/",
    "lib/pod/",
    "lib/sandbox/",
    "lib/runtime.ts",
    "lib/cli/",
  ],
  "@std/path/posix": ["lib/"],
  "@std/cli": ["lib/cli/"],
  "@std/cli/parse-args": ["lib/cli/"],
};

/** Where `Deno` may be written. */
export const DENO: readonly string[] = ["lib/host/", "lib/daemon/server.ts", "cli.ts"];
/** What the face of the library may not show, and the only floors that the program's entry needs. */
export const NARROWER: Readonly<Record<string, (floor: string) => boolean>> = {
  "mod.ts": (floor) => floor !== "lib/cli",
  "cli.ts": (floor) => floor === "lib/cli" || floor === "lib/host",
};
