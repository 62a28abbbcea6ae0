/**
 * Appends figures to the file that PODWIRE_TEST_FIGURES names, if it is set: a quiet runner shows nothing
 * that tests print.
 */
export async function appendFigures(title: string, counts: ReadonlyMap<string, number>): Promise<void> {
  const file = Deno.env.get("PODWIRE_TEST_FIGURES") ?? "";
  if (file === "") return;
  const lines = [...counts].sort().map(([what, count]) => `${String(count).padStart(6)}  ${what}`);
  await Deno.writeTextFile(file, [title, ...lines, ""].join("\n"), { append: true });
}
