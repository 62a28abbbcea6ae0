import { isAbsolute } from "@std/path/posix";
import type { JsonObject } from "../cni/json.ts";
import type { Finding } from "./finding.ts";
import { RULES } from "./rules.ts";

/**
 * Returns findings as a log of SARIF 2.1.0, which code hosts show beside the lines.
 *
 * Source: OASIS, Static Analysis Results Interchange Format 2.1.0.
 */
export function toSarif(findings: readonly Finding[], version: string): JsonObject {
  const driver = {
    name: "podwire lint",
    version,
    rules: RULES.map(({ name, severity, summary, explanation }) => ({
      id: name,
      shortDescription: { text: summary },
      fullDescription: { text: explanation },
      defaultConfiguration: { level: severity },
    })),
  };
  return {
    $schema: "https://json.schemastore.org/sarif-2.1.0.json",
    version: "2.1.0",
    runs: [{ tool: { driver }, columnKind: "unicodeCodePoints", results: findings.map(resultOf) }],
  };
}

function resultOf({ file, line, column, rule, severity, message, suggestion }: Finding): JsonObject {
  return {
    ruleId: rule,
    ruleIndex: RULES.findIndex(({ name }) => name === rule),
    level: severity,
    message: { text: suggestion === undefined ? message : `${message} (${suggestion})` },
    locations: [{
      physicalLocation: {
        artifactLocation: { uri: uriOf(file) },
        region: { startLine: line, startColumn: column },
      },
    }],
  };
}

function uriOf(file: string): string {
  const path = file.split("/").map(encodeURIComponent).join("/");
  return isAbsolute(file) ? `file://${path}` : path.replace(/^(?:\.\/)+/, "");
}
