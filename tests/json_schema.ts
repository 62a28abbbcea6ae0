// Validates JSON by a schema, with a library that is not ours.
import { AJV } from "./root/need.ts";

/** Runs in the folder of the component, whose packages it can import. */
const CODE = `
import { Ajv2020 } from "ajv/dist/2020.js";
const { schema, values } = JSON.parse(await new Response(Deno.stdin.readable).text());
const options = { strict: true, strictTypes: false, strictRequired: false, allErrors: true };
const validate = new Ajv2020(options).compile(schema);
const problems = values.map((value) =>
  validate(value) ? [] : validate.errors.map(({ instancePath, message }) => instancePath + " " + message)
);
console.log(JSON.stringify(problems));
`;

/**
 * Returns what is wrong with each value, in order; nothing if it is valid. Needs the component `ajv`.
 *
 * @throws if the schema is not one
 */
export async function schemaProblems(
  schema: object,
  values: readonly unknown[],
): Promise<readonly (readonly string[])[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", CODE],
    cwd: AJV,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify({ schema, values })));
  await writer.close();
  const { success, stdout, stderr } = await child.output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout)) as readonly (readonly string[])[];
}
