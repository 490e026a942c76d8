package com.example;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;

/** A web server that wants an API key of its callers. A POST to /actuator/refresh binds the properties anew. */
@SpringBootApplication
@EnableConfigurationProperties(WebProperties.class)
public class Application {

  public static void main(String[] arguments) {
    SpringApplication.run(Application.class, arguments);
  }
}

@RestController
class Hello {

  private final WebProperties properties;

  Hello(WebProperties properties) {
    this.properties = properties;
  }

  @GetMapping("/")
  ResponseEntity<String> hello(@RequestHeader(name = "X-Api-Key", defaultValue = "") String given) {
    byte[] key = properties.getApiKey().getBytes(StandardCharsets.UTF_8);
    boolean right = MessageDigest.isEqual(given.getBytes(StandardCharsets.UTF_8), key);
    return right ? ResponseEntity.ok("hello\n") : ResponseEntity.status(401).build();
  }
}
