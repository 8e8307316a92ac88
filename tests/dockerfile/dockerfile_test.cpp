// Dockerfiles: what is understood comes out as Docker reads it; all else is an error with its line.
#include "workloads/dockerfile/dockerfile.h"

#include <gtest/gtest.h>

#include "drivers/base/usage_error.h"

namespace sbench {
namespace {

std::string refusal(const std::string& text) {
  try {
    static_cast<void>(parse_dockerfile(text, "Dockerfile"));
  } catch (const UsageError& error) {
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << text;
  return "";
}

void expect_refusal(const std::string& text, const std::string& line, const std::string& part) {
  const std::string said = refusal(text);
  EXPECT_EQ(said.rfind("Dockerfile:" + line + ":", 0), 0u) << said;
  EXPECT_NE(said.find(part), std::string::npos) << said;
  EXPECT_EQ(said.find('\n'), std::string::npos) << said;
}

std::vector<std::string> texts(const BuildStage& stage) {
  std::vector<std::string> all;
  for (const auto& instruction : stage.instructions) {
    all.push_back(instruction.text);
  }
  return all;
}

TEST(Dockerfile, an_ordinary_one_is_read_in_order) {
  const auto file = parse_dockerfile(R"(# A comment
FROM debian:12-slim
run apt-get update && \
    # a comment between the lines of one instruction

    apt-get install -y python3
WORKDIR /srv/app
COPY --chown=app:app requirements.txt ./
ENV A=1 B="two words" C=three\ words
LABEL org.example.title='The App'
USER app
CMD ["python3", "-m", "app"]
ENTRYPOINT exec "$0"
)", "Dockerfile");
  ASSERT_EQ(file.stages.size(), 1u);
  EXPECT_EQ(file.stages[0].base, "debian:12-slim");
  EXPECT_EQ(texts(file.stages[0]),
            (std::vector<std::string>{"RUN apt-get update && apt-get install -y python3", "WORKDIR /srv/app",
                                      "COPY --chown=app:app requirements.txt ./", "ENV A=1 B=two words C=three words",
                                      "LABEL org.example.title=The App", "USER app",
                                      "CMD [\"python3\", \"-m\", \"app\"]", "ENTRYPOINT exec \"$0\""}));
  EXPECT_EQ(file.stages[0].instructions[0].line, 3u);
  EXPECT_EQ(file.stages[0].instructions[1].line, 7u);
  EXPECT_TRUE(file.stages[0].instructions[6].exec_form);
  EXPECT_EQ(file.stages[0].instructions[6].words, (std::vector<std::string>{"python3", "-m", "app"}));
  EXPECT_FALSE(file.stages[0].instructions[7].exec_form);
}

TEST(Dockerfile, variables_expand_where_docker_expands_them_and_nowhere_else) {
  const auto file = parse_dockerfile(R"(ARG VERSION=12
ARG UNUSED=x
FROM debian:${VERSION}
ARG VERSION
ARG NAME=app
ENV HOME_OF=/srv/$NAME UNSET=${NOTHING:-default} SET=${NAME:+yes} PLAIN='$NAME' ESCAPED=\$NAME
ENV SELF=new HOME_OF=$SELF/x
WORKDIR ${HOME_OF}
COPY ${NAME}.py "/opt/${UNUSED:-none}/"
RUN echo $NAME
)", "Dockerfile");
  EXPECT_EQ(file.stages[0].base, "debian:12");
  EXPECT_EQ(texts(file.stages[0]),
            (std::vector<std::string>{"ARG VERSION", "ARG NAME=app",
                                      "ENV HOME_OF=/srv/app UNSET=default SET=yes PLAIN=$NAME ESCAPED=$NAME",
                                      "ENV SELF=new HOME_OF=/x", "WORKDIR /x", "COPY app.py /opt/none/",
                                      "|2 NAME=app VERSION=12 RUN echo $NAME"}));
}

TEST(Dockerfile, build_arguments_replace_defaults_and_change_what_the_cache_compares) {
  const std::string text = "FROM a\nARG NAME=app\nRUN echo $NAME\n";
  const auto plain = parse_dockerfile(text, "Dockerfile");
  const auto given = parse_dockerfile(text, "Dockerfile", {{"NAME", "other"}, {"UNDECLARED", "x"}});
  EXPECT_EQ(given.stages[0].instructions[1].text, "|1 NAME=other RUN echo $NAME");
  EXPECT_NE(plain.stages[0].instructions[1].text, given.stages[0].instructions[1].text);
}

TEST(Dockerfile, environment_wins_over_arguments_and_passes_on_to_stages_built_on_it) {
  const auto file = parse_dockerfile(
      "FROM a AS one\nARG V=arg\nENV V=env\nWORKDIR /$V\nFROM one\nWORKDIR /$V\nFROM b\nWORKDIR /x$V\n", "Dockerfile");
  EXPECT_EQ(file.stages[0].instructions[2].text, "WORKDIR /env");
  EXPECT_EQ(file.stages[1].instructions[0].text, "WORKDIR /env");
  EXPECT_EQ(file.stages[2].instructions[0].text, "WORKDIR /x");
}

TEST(Dockerfile, stages_are_found_by_name_and_number_and_unneeded_ones_are_left_out) {
  const auto file = parse_dockerfile(R"(FROM golang AS Build
RUN make
FROM node AS assets
RUN npm build
FROM build AS tested
RUN make test
FROM scratch
COPY --from=build /out/app /app
COPY --from=0 /out/lib /lib
)", "Dockerfile");
  ASSERT_EQ(file.stages.size(), 4u);
  EXPECT_EQ(file.stages[2].base_stage, 0);
  EXPECT_EQ(file.stages[3].base_stage, -1);
  EXPECT_EQ(file.stages[3].instructions[0].flags.at("from"), "0");
  EXPECT_EQ(file.needed_by(3), (std::vector<std::size_t>{0, 3}));
  EXPECT_EQ(file.needed_by(2), (std::vector<std::size_t>{0, 2}));
  EXPECT_EQ(file.needed_by(1), (std::vector<std::size_t>{1}));
}

TEST(Dockerfile, the_escape_character_can_be_a_backtick) {
  const auto file = parse_dockerfile("# escape=`\nFROM a\nCOPY a `\n  b /c\\d/\n", "Dockerfile");
  EXPECT_EQ(file.stages[0].instructions[0].words, (std::vector<std::string>{"a", "b", "/c\\d/"}));
}

TEST(Dockerfile, windows_line_ends_and_a_missing_last_newline_are_no_matter) {
  const auto file = parse_dockerfile("FROM a\r\nRUN one \\\r\n  two\r\nRUN three", "Dockerfile");
  EXPECT_EQ(texts(file.stages[0]), (std::vector<std::string>{"RUN one two", "RUN three"}));
}

TEST(Dockerfile, whatever_is_not_understood_is_an_error_with_its_line) {
  expect_refusal("FROM a\n\nVOLUME /data\n", "3", "'VOLUME' is not understood");
  expect_refusal("FROM a\nHEALTHCHECK CMD true\n", "2", "HEALTHCHECK");
  expect_refusal("FROM a\nEXPOSE 80\n", "2", "EXPOSE");
  expect_refusal("FROM a\nFORM b\n", "2", "FORM");
  expect_refusal("RUN make\nFROM a\n", "1", "before the first FROM");
  expect_refusal("\n# nothing\n", "1", "no FROM");
  expect_refusal("FROM\n", "1", "FROM wants");
  expect_refusal("FROM a as\n", "1", "FROM wants");
  expect_refusal("FROM a b c\n", "1", "FROM wants");
  expect_refusal("FROM $NOTHING\n", "1", "empty");
  expect_refusal("FROM a AS x\nFROM b AS X\n", "2", "called x already");
  expect_refusal("FROM a\nRUN\n", "2", "no argument");
  expect_refusal("FROM a\nCOPY --chmod=u+x x y\n", "2", "no octal mode");
  expect_refusal("FROM a\nCOPY --chmod=17777 x y\n", "2", "no octal mode");
  expect_refusal("FROM a\nRUN --mount=type=cache,target=/x make\n", "2", "--mount");
  expect_refusal("FROM a\nRUN <<EOF\nmake\nEOF\n", "2", "here-documents");
  expect_refusal("FROM a\nCOPY one\n", "2", "at least one source");
  expect_refusal("FROM a\nCOPY one two /three\n", "2", "must end in /");
  expect_refusal("FROM a\nCOPY --link a /b\n", "2", "--link");
  expect_refusal("FROM a\nADD --from=0 a /b\n", "2", "--from");
  expect_refusal("FROM a\nADD https://example.org/x /x\n", "2", "network");
  expect_refusal("FROM a\nCOPY --from=later a /b\nFROM b AS later\n", "2", "no earlier stage");
  expect_refusal("FROM a\nCOPY --from=0 a /b\n", "2", "no earlier stage");
  expect_refusal("FROM a\nENV A\n", "2", "NAME=VALUE");
  expect_refusal("FROM a\nENV A=1 B\n", "2", "NAME=VALUE");
  expect_refusal("FROM a\nENV 1A=x\n", "2", "name");
  expect_refusal("FROM a\nARG a-b=x\n", "2", "name");
  expect_refusal("FROM a\nLABEL a=\"open\n", "2", "not closed");
  expect_refusal("FROM a\nWORKDIR ${A\n", "2", "not closed");
  expect_refusal("FROM a\nWORKDIR ${A%x}\n", "2", "not understood");
  expect_refusal("# escape=x\nFROM a\n", "1", "escape character");
}

TEST(Dockerfile, arrays_that_are_no_json_are_shell_lines) {
  const auto file = parse_dockerfile("FROM a\nRUN [\"a\", 'b']\nRUN [ -e x ]\nCMD [\"x\\\"y\", \"\\\\\"]\n", "Dockerfile");
  EXPECT_FALSE(file.stages[0].instructions[0].exec_form);
  EXPECT_FALSE(file.stages[0].instructions[1].exec_form);
  EXPECT_EQ(file.stages[0].instructions[2].words, (std::vector<std::string>{"x\"y", "\\"}));
}

}  // namespace
}  // namespace sbench
