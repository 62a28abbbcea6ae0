import { CniError, type CniErrorOptions } from "../cni/error.ts";
import type { Json } from "../cni/json.ts";
import type { Shape } from "../cni/shape.ts";
import type { PortSpan } from "../state/automatic_ports.ts";
import type { NetworkSettings, WantedNetwork } from "./pod_request.ts";

/** Makes the error for a text that cannot be read. */
export type RefuseText = (problem: string, more?: CniErrorOptions) => Error;

/** Makes the error for a value that no plugin can follow; `path` names the member, such as `dns.servers[0]`. */
export type RefuseMember = (path: string, problem: string) => Error;

/** Makes errors that name the source of a text, such as `--publish`. */
export function refuseFrom(source: string): RefuseText {
  return (problem, more) => new CniError("usage", `${source}: ${problem}`, more);
}

/** All settings that one network can have. */
export type WantedSettings = Omit<
  WantedNetwork,
  "name" | "ifName" | "foreignRoutes" | "cniArgs" | "requireCapabilities" | "title"
>;

/** A flag of `podwire run` that gives a setting. */
export interface SettingFlag {
  /** Without the dashes. */
  readonly name: string;
  /** One letter. */
  readonly alias?: string;
  readonly help: string;
}

/** One way to write a setting, or a field of it, as text. */
export interface SettingText {
  /** The field that it gives, such as `servers` of `dns`. @default {the whole setting} */
  readonly field?: string;
  /** The flag of `podwire run`. */
  readonly flag?: SettingFlag;
  /** The key behind a network in `--network`. */
  readonly key?: string;
  /** The annotation that the OCI hook reads. */
  readonly annotation?: string;
  /** Stands for the value in the help. */
  readonly placeholder: string;
  /** Explains the placeholder, where it needs more than a word. */
  readonly syntax?: string;
  /** Whether it has one value; otherwise it may be repeated. */
  readonly once?: boolean;
  /** Whether the value of the key is JSON, in which commas need no backslash. */
  readonly isJson?: boolean;
  /** The value of a key that stands without one, and the help for such a key. */
  readonly alone?: { readonly value: unknown; readonly help: string };
  /**
   * Reads one value.
   *
   * @throws {Error} made by `refuse`
   */
  read(text: string, refuse: RefuseText): unknown;
  /** As {@linkcode SettingText.read}, for the flag alone, which may be stricter. */
  readFlag?(text: string, refuse: RefuseText): unknown;
  /** Makes one value of all that were read. @default {the list of them} */
  join?(values: readonly unknown[]): unknown;
}

/** The capability that carries a setting to the plugins. */
export interface SettingCapability<T> {
  readonly name: string;
  /** Whether a network need not declare it: the value is offered, not asked for. */
  readonly isOffered?: boolean;
  /** Undefined for a value that asks for nothing. */
  toJson(value: T): Json | undefined;
}

/** Something that only one attachment of a network, or of the whole pod, can have. */
export interface SettingClaim {
  readonly within: "network" | "pod";
  /** Equal for what is the same, however it is written. */
  readonly key: string;
  /** For the error, such as `the address 10.1.0.5`. */
  readonly name: string;
}

/** What authors of annotations need the administrator's permission for. */
export type SettingPermission<T> =
  | {
    /** The word of `--allow-annotation`. */
    readonly word: string;
    /** Whether a value needs no permission. */
    isHarmless?(value: T): boolean;
  }
  | {
    /** The ports of the host that it takes, which `--allow-host-ports` allows by number. */
    hostPorts(value: T): readonly PortSpan[];
  };

/** One network setting: all that any part of the program has to know about it. */
export interface Setting<T = unknown> {
  /**
   * The networks that a setting of the pod is for: the `first` alone, `all` of them, or none (`own`): then only a
   * network can have it.
   */
  readonly scope: "first" | "all" | "own";
  readonly texts: readonly SettingText[];
  /** The member of a request to the daemon. */
  readonly shape: Shape<unknown>;
  /** Prints the value for a request to the daemon. @default {as it is} */
  toBody?(value: T): unknown;
  /**
   * Returns the one form of a value that can be written in several.
   *
   * @throws {Error} made by `refuse`
   */
  normalize?(value: T, refuse: RefuseMember): T;
  /**
   * Refuses a value that no plugin can follow.
   *
   * @throws {Error} made by `refuse`
   */
  validate?(value: T, refuse: RefuseMember): void;
  readonly capability?: SettingCapability<T>;
  /** The pair of `CNI_ARGS` that carries it to plugins without the capability; undefined where a pair cannot. */
  readonly cniArg?: { readonly key: string; of(value: T): string | undefined };
  /** What only one attachment can have, such as an address. */
  claims?(value: T): readonly SettingClaim[];
  /**
   * Joins the value of the pod and that of the network.
   *
   * @default {of scope `all`, that of the network; else both together are refused}
   * @throws {Error} made by `twice`, which gets the path of the value that both give
   */
  merge?(pod: T, own: T, twice: (path: string) => Error): T;
  readonly permission: SettingPermission<T>;
}

/** Settings by their members of {@linkcode NetworkSettings} and {@linkcode WantedNetwork}. */
export type SettingTable = Readonly<Record<string, Setting>>;

/** The values that were read for the texts of a table. */
export type ReadTexts = ReadonlyMap<SettingText, readonly unknown[]>;

/** All texts of a table, in its order. */
export function textsOf(table: SettingTable): readonly SettingText[] {
  return Object.values(table).flatMap(({ texts }) => texts);
}

/** The settings that were read, without the members that were not given. */
export function settingsOf(read: ReadTexts, table: SettingTable): WantedSettings {
  const members = Object.entries(table).flatMap(([member, { texts }]) => {
    const given = texts.flatMap((text) => {
      const values = read.get(text);
      return values === undefined ? [] : [{ field: text.field, value: joined(text, values) }];
    });
    if (given.length === 0) return [];
    const whole = given.find(({ field }) => field === undefined);
    const fields = given.flatMap(({ field, value }) => field === undefined ? [] : [[field, value] as const]);
    if (fields.length === 0) return [[member, whole?.value] as const];
    return [[member, { ...whole?.value as object | undefined, ...Object.fromEntries(fields) }] as const];
  });
  return Object.fromEntries(members) as WantedSettings;
}

function joined(text: SettingText, values: readonly unknown[]): unknown {
  if (text.once) return values[0];
  return text.join === undefined ? values : text.join(values);
}

/** The value of a member, which may be one that the types do not know. */
export function valueOf(settings: NetworkSettings, member: string): unknown {
  return (settings as Readonly<Record<string, unknown>>)[member];
}
