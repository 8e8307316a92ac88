"""Reports: reads sbench result files and nothing else.

`python3 -m reports --help` lists the commands. Layers, each importing only from
those before it: errors, text → statistics, histogram → result_file → comparison,
use_cases, likeness → run_set, summary, table, figures/ → html_report, markdown →
commands/ → __main__.
"""
